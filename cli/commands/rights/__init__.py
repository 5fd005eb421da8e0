"""Who may call `claimtrace serve`: API keys, and the audit of what was refused and looked at."""
