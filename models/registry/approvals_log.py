"""The approvals log: who let which version do what, when and why; nothing in it can be rewritten.

One JSON object a line. Each ends in `chain`, the SHA-256 over the chain of the line before and this
line without its own, as sealed decisions do, so an edited, dropped or inserted line is found. Whole
lines cut off the end are not: keep the last `chain` elsewhere if that matters. The state of an
alias *is* the last line about it: moving one is one append.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from claimtrace.decisions import GENESIS, chain_of, check_seal
from claimtrace.errors import StateError

MAX_WORDS: Final = 2000
"""Characters of a reason, and of an actor's name."""

Act = Literal["published", "moved", "withdrawn", "rejected"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the log.

    Attributes:
        number: 1, 2, 3 ... without gaps.
        at_ms: when, by the clock of who wrote it.
        act: `published` a version, `moved` an alias to it, `withdrawn` an alias, or `rejected` a
            version.
        actor: a person, or the job that acted for one.
        reason: in words.
        version, digest: what it is about; None when an alias is withdrawn.
        alias, from_version: of `moved` and `withdrawn`; None when it stood nowhere before.
        evidence: digest of what the actor looked at, such as a training report.
    """

    number: int
    at_ms: int
    act: Act
    actor: str
    reason: str
    version: int | None
    digest: str | None
    alias: str | None = None
    from_version: int | None = None
    evidence: str | None = None


class _Sealed(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    chain: str


@dataclass(frozen=True, slots=True)
class Approvals:
    """The log as read: its entries, the chain's end, and how many bytes of the file are whole."""

    entries: tuple[Entry, ...] = ()
    head: str = GENESIS
    whole_bytes: int = 0

    def version(self, version: int) -> Entry | None:
        """The line that published a version."""
        for entry in self.entries:
            if entry.act == "published" and entry.version == version:
                return entry
        return None

    def alias(self, alias: str) -> Entry | None:
        """The line that put an alias where it is; None if it stands nowhere."""
        return _standing([entry for entry in self.entries if entry.alias == alias])

    def live_at(self, alias: str, at_ms: int) -> Entry | None:
        """The line by which an alias stood where it did at a time: version, who, why and when.

        Should two clocks disagree, the order of the log decides.
        """
        return _standing(
            [entry for entry in self.entries if entry.alias == alias and entry.at_ms <= at_ms]
        )

    def aliases(self) -> dict[str, int]:
        """Where every alias stands, in the order of their names."""
        names = sorted({entry.alias for entry in self.entries if entry.alias is not None})
        standing = {name: self.alias(name) for name in names}
        return {
            name: entry.version
            for name, entry in standing.items()
            if entry is not None and entry.version is not None
        }

    def line(
        self,
        act: Act,
        *,
        at_ms: int,
        actor: str,
        reason: str,
        version: int | None,
        digest: str | None,
        alias: str | None = None,
        from_version: int | None = None,
        evidence: str | None = None,
    ) -> tuple[Entry, bytes]:
        """The next entry and the bytes to append, newline included.

        Raises:
            StateError: nobody is named, or no reason is given: the log could not answer for it.
        """
        for word, what in ((actor, "actor"), (reason, "reason")):
            if not word.strip() or len(word) > MAX_WORDS:
                raise StateError(
                    f"the {what} is empty or longer than {MAX_WORDS}",
                    where="approvals",
                    hint="say who decided, and why",
                )
        entry = Entry(
            number=len(self.entries) + 1, at_ms=at_ms, act=act, actor=actor, reason=reason,
            version=version, digest=digest, alias=alias, from_version=from_version,
            evidence=evidence,
        )  # fmt: skip
        body = msgspec.json.encode(entry)
        chain = hashlib.sha256(self.head.encode() + body).hexdigest()
        return entry, body[:-1] + b',"chain":"' + chain.encode() + b'"}\n'


def read_approvals(content: bytes, where: str = "approvals.log") -> Approvals:
    """Read a log and prove its chain. A last line that a crash tore (no newline) doesn't count.

    Raises:
        StateError: names the first line that doesn't follow from the one before.
    """
    whole = content.rfind(b"\n") + 1
    entries: list[Entry] = []
    head = GENESIS
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        entry = _read_line(line, head)
        if entry is None or entry.number != number:
            raise StateError(
                "the line is damaged or doesn't follow from the one before",
                where=f"{where}, line {number}",
                hint="compare with a copy; lines after it can't be trusted either",
            )
        entries.append(entry)
        head = chain_of(line)
    return Approvals(tuple(entries), head, whole)


def _read_line(line: bytes, head: str) -> Entry | None:
    if not check_seal(line, head):
        return None
    try:
        sealed = msgspec.json.decode(line, type=_Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Entry(**{name: getattr(sealed, name) for name in Entry.__struct_fields__})


def _standing(about: list[Entry]) -> Entry | None:
    return about[-1] if about and about[-1].act == "moved" else None
