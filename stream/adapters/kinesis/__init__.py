"""Kinesis as source and output, with journal and leases in a table."""
