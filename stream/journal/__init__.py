"""The journal: plans, terms and their comparison, and the contracts of journal and source."""
