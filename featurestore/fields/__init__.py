"""Fields and ids of a batch's events as numeric columns."""
