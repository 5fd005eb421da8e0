"""The older import path of a part of `featurestore.definitions`; domain modules in use name it."""

from .definitions import Domain, Labels

__all__ = ["Domain", "Labels"]
