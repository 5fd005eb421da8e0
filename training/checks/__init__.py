"""Checks of the data of a training run: the contract that it keeps, and leaks of the verdict."""
