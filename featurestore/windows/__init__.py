"""Exact window aggregates over the events of an entity."""
