"""Old import path of names in `featurestore.definitions`, kept for existing domain modules."""

from .definitions import Domain, Labels

__all__ = ["Domain", "Labels"]
