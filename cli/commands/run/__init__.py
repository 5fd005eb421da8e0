"""Run the stream."""
