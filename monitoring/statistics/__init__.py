"""Distances between distributions."""
