"""Training: from served feature vectors and late labels to a published, immutable model."""
