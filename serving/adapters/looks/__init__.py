"""Looks from the event loop: the desk between it and the thread that has the engine."""
