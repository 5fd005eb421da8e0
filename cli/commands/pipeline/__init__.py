"""Run the training pipeline, look at its runs, and let triggers start it."""
