"""Mergeable counts of one time window (tiles), and the reference to compare them with."""
