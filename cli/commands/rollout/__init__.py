"""Let another version score, or decide on a share, before it takes charge."""
