"""The worker's process: garbage collection, background threads."""
