"""The journal of plans: what a plan and the terms are, and the contracts of journal and source."""
