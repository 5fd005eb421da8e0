"""Read what the stream has written: decisions, dead letters, and workers as they run."""
