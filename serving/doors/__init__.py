"""Binding requests: a claim that came over HTTP goes onto the log and waits for its decision."""
