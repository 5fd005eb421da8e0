"""Train models and decide which one is in charge."""
