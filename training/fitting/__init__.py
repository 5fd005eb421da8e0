"""Models fitted to a data set."""
