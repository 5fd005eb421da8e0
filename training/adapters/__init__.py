"""Adapters of training: the search for settings by Optuna, with its file of trials."""
