"""Records on their way to a log: chunks, pace, headers, the contract of a sink."""
