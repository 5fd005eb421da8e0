"""Doors on a log: claims are put there, and the decisions that fall are read from there."""
