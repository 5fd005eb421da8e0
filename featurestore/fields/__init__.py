"""The fields and ids of a batch as columns of numbers."""
