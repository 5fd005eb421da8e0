"""How good a model is: metrics, capacity, comparison."""
