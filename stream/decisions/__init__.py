"""Decisions: outcomes, their reasons, the seal. Dead letters: their bytes (reasons: `refusals`)."""
