"""The older import path of a part of `featurestore.definitions`; domain modules in use name it."""

from .definitions import Expression, feature, field, profile

__all__ = ["Expression", "feature", "field", "profile"]
