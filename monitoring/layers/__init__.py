"""Drift of inputs, scores and outcomes between a window and the reference."""
