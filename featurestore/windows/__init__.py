"""Exact window aggregates over the series of an entity."""
