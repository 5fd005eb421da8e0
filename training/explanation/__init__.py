"""Explanations of a model for people: influence of each feature, and examples claim by claim."""
