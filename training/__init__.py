"""From logged features and late labels to a published, immutable model."""
