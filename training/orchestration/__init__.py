"""Runs of the training pipeline: order of the steps, kept results, run records, and triggers."""
