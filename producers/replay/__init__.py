"""Replay tables of claims as events; a mapping declares topic, key, time and fields."""
