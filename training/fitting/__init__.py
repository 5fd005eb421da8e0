"""Fitting of models to a data set."""
