"""Old import path of names in `featurestore.definitions`, kept for existing domain modules."""

from .definitions import Expression, feature, field, profile

__all__ = ["Expression", "feature", "field", "profile"]
