"""Drift alerts: when lasting drift raises one, and the wording of its text."""
