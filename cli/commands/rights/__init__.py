"""API keys of `claimtrace serve`, and the audit of what was refused and looked at."""
