"""Batches: files of claims that are scored, or put on the log, as jobs that survive a restart."""
