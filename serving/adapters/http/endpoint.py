"""Endpoints as plain tuples: the app, its rights and OpenAPI are all made from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ...openapi import Parameter
from ...roles import Scope

if TYPE_CHECKING:
    from ..batches.service import BatchService
    from ..doors.door import Door
    from ..evidence.service import EvidenceService
    from ..looks.models import ModelService
    from ..looks.service import LookService
    from .process import Process
    from .rights import Rights

Handler = Callable[[Request], Awaitable[Response]]


class Endpoint(NamedTuple):
    """One method of one path.

    Args:
        method, path: as Starlette has them.
        scope: the right that a caller needs; None: everybody may.
        handler: an `async` function of a request.
        summary: what it does, in one line.
        request: the type of the body, `Media`, or a tuple of them.
        answers: the type of each status' body.
        query: parameters of the query, and headers.
        needs: the part of `Parts` without which it answers 501.
    """

    method: str
    path: str
    scope: Scope | None
    handler: Handler
    summary: str
    request: Any = None
    answers: Mapping[int, Any] = {}
    query: tuple[Parameter, ...] = ()
    needs: str = ""


@dataclass(frozen=True)
class Parts:
    """What this process can do, one attribute a capability; None where it hasn't it."""

    door: Door | None = None
    looks: LookService | None = None
    models: ModelService | None = None
    batches: BatchService | None = None
    evidence: EvidenceService | None = None
    rights: Rights | None = None
    process: Process | None = None

    def has(self, name: str) -> bool:
        """Whether there is a part; "" is always there."""
        return not name or getattr(self, name) is not None


PARTS = frozenset(each.name for each in fields(Parts))
