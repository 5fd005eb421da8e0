"""The registry's folder on disk, and the notes on passed self-checks."""
