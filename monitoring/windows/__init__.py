"""Mergeable counts of time windows (tiles), and the reference that they are compared with."""
