"""What a batch leaves for the offline store, as Arrow tables."""
