"""Looks: what would be decided on claims now; batches of whoever waits, models, and how fresh."""
