"""Batches on this machine: the rows of jobs, their files, and the process that works on them."""
