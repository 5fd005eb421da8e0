"""First steps: the demo, and the check of an installation."""
