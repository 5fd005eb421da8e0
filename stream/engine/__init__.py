"""Apply a batch to the state, decide on it, and count drift on the way."""
