"""Copies of a folder: taken while a worker runs, and put back."""
