"""The journal of plans: plans, terms, and the contracts of journal and source."""
