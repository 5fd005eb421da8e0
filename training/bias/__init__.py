"""Bias between groups of people: counts, metrics, limits and the comparison of mitigations."""
