"""Replay and back-fill, compared with what was served."""
