"""Drift of inputs and scores between a window and the reference."""
