"""Which version was approved, by whom, and when: the append-only approvals log."""
