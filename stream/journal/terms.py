"""The terms of a journal: settings that its decisions depend on, and the edition it began with.

Terms of edition 1 are written plain, as they were before editions; those of a later edition are
written in a frame (`edition_frame`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from claimtrace.editions import NEWEST, OLDEST
from claimtrace.errors import StateError

from .edition_frame import framed, unframed


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that must not change under a journal, because its decisions depend on them."""

    domain: str
    definitions: str
    rules: str
    topics: list[str]
    lateness_ms: int
    remember_ms: int
    reasons: int
    drift_window_ms: int
    drift_lateness_ms: int
    drift_min_count: int
    drift_alert_m: int
    drift_alert_n: int
    partitions: int
    hash_key: str = ""
    """A digest of the key that ids are hashed with; the key itself is a secret."""
    topic_ids: list[str] = []
    """The log's own ids of the input topics or streams: positions belong to these, not to ones
    that are created again under the same names."""
    schemas: str = "json"
    """`json`, or `registry` where values framed by a schema registry are read too."""
    reasons_for: str = "refer"
    """`refer`, or `review` where reviewed claims get reasons, too. It is of no effect before
    edition 4."""
    texts: dict[str, str] = {}
    """The texts of definitions and rules by digest, packed (`kept_texts`). No setting."""
    edition: int = NEWEST
    """The edition that the journal began with; `claimtrace upgrade` may have begun another since
    (`Plan.edition`). No setting: it is taken from the journal."""

    def check_same(self, other: Terms, where: str) -> None:
        """Refuse other terms than those that the journal was begun with.

        `topic_ids` are not compared: the transports compare them with a better message. Nor are
        the edition and the texts, which are the journal's own.

        Raises:
            StateError: names the first term that differs.
        """
        for name in self.__struct_fields__:
            if name in ("topic_ids", "edition", "texts"):
                continue
            before, now = getattr(self, name), getattr(other, name)
            if before != now:
                raise StateError(
                    f"the state was begun with {name} = {before}, the settings say {now}",
                    where=where,
                    hint="set it back, or start with a new folder: the log is replayed into it",
                )


_encode: Final = msgspec.json.Encoder().encode


def encoded_terms(terms: Terms) -> bytes:
    """Encode the terms that a journal begins with; the inverse of `terms_of`."""
    plain: dict[str, Any] = msgspec.to_builtins(terms)
    edition = plain.pop("edition")
    # left out where they say nothing, so that the terms of earlier editions keep their bytes
    for name, default in (("reasons_for", "refer"), ("texts", {})):
        if plain[name] == default:
            del plain[name]
    if edition == OLDEST:
        return _encode(plain)
    return framed("terms", plain, edition)


def terms_of(line: bytes, where: str) -> Terms:
    """Decode the terms that a journal begins with.

    Raises:
        StateError: another version wrote the journal.
    """
    try:
        edition, inside = unframed(line, where)
        terms = msgspec.json.decode(inside, type=Terms)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the journal is of another version: {error}",
            where=where,
            hint="start with a new folder: the log is replayed into it",
        ) from error
    return msgspec.structs.replace(terms, edition=edition or OLDEST)
