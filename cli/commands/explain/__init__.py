"""Explain one decision, down to the records that its features counted."""
