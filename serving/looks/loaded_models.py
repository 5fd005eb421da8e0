"""The models that are loaded for looks beside the champion: the one least recently used leaves."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

from claimtrace.errors import UsageError

Name = TypeVar("Name")
Model = TypeVar("Model")
_REFERENCE: Final = re.compile(r"([A-Za-z0-9_.-]{1,128}):([1-9][0-9]{0,8})")


class Wanted(NamedTuple):
    """A model as a request names it."""

    name: str
    version: int


def wanted_model(text: str) -> Wanted:
    """Read `NAME:VERSION`.

    Raises:
        UsageError: the text is something else.

    >>> wanted_model("auto_claims:3")
    Wanted(name='auto_claims', version=3)
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise UsageError("a model is named NAME:VERSION", where="model",
                         hint="such as auto_claims:3; GET /v1/models lists them")  # fmt: skip
    return Wanted(found[1], int(found[2]))


class LoadedModels(Generic[Name, Model]):
    """At most `most` models by name; a new one takes the place of the one least recently used.

    >>> models = LoadedModels[int, str](most=2)
    >>> models.put(1, "a"), models.put(2, "b"), models.get(1), models.put(3, "c")
    ([], [], 'a', [2])
    >>> models.get(2) is None, models.names()
    (True, [1, 3])
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._models: OrderedDict[Name, Model] = OrderedDict()

    def get(self, key: Name) -> Model | None:
        """Return a loaded model, and note its use."""
        found = self._models.get(key)
        if found is not None:
            self._models.move_to_end(key)
        return found

    def put(self, key: Name, model: Model) -> list[Name]:
        """Keep a loaded model; returns the names of those that leave."""
        self._models[key] = model
        self._models.move_to_end(key)
        gone = []
        while len(self._models) > self._most:
            gone.append(self._models.popitem(last=False)[0])
        return gone

    def names(self) -> list[Name]:
        """Return the names of the loaded models, least recently used first."""
        return list(self._models)
