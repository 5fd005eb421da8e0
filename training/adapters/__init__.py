"""Nothing of its own: the offline store and the registry come in as arguments."""
