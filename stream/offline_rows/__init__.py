"""The rows of a batch for the offline store, as Arrow tables."""
