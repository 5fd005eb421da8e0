"""The embedded log as source and output, and the journal in a file."""
