"""Snapshots of the state on disk, written beside the stream by a forked process or a thread."""
