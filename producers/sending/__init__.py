"""The way of records to a log: chunks, pace, headers, live times, the contract of a sink."""
