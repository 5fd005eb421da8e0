"""Distances between distributions, and their significance."""
