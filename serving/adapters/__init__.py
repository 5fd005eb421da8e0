"""Adapters of serving: HTTP, threads, and the files of batches."""
