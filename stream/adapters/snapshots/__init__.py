"""Snapshots of the state on disk, written in the background of the stream."""
