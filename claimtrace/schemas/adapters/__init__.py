"""The schema registry over HTTP, with an on-disk cache."""
