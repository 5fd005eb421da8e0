"""Snapshots of the state on disk, written beside the stream."""
