"""The approvals log: an append-only, hash-chained record of who approved which version, and why.

Each line is one JSON object. Its last field, `chain`, is the SHA-256 over the chain of the line
before and this line without `chain`, as in sealed decisions, so an edited, dropped or inserted line
is detected. Whole lines cut off at the end are found by the log's head, the last `chain`, which is
kept in a second place (`ApprovalsHead`). The state of an alias *is* the last line about the alias:
moving it is one append.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from claimtrace.decisions import GENESIS, chain_of, check_seal
from claimtrace.errors import StateError

MAX_TEXT_LENGTH: Final = 2000
"""Most characters of a reason, and of an actor's name."""

CHAMPION: Final = "champion"
"""The alias of the model in charge."""
ROLLOUT: Final = "rollout"
"""In the field `alias` of lines about a roll-out: `version` is then the number of the roll-out."""

Act = Literal[
    "published", "moved", "withdrawn", "rejected", "approved", "retired", "rollout_started",
    "rollout_ended",
]  # fmt: skip

State = Literal["pending", "approved", "rejected", "retired"]
"""What people have decided about a version, as the log says; see `ApprovalsLog.state`."""

_STATES: Final[dict[Act, State]] = {
    "published": "pending", "approved": "approved", "rejected": "rejected", "retired": "retired",
}  # fmt: skip


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the log.

    Attributes:
        number: 1, 2, 3 ... without gaps.
        at_ms: time of the act by the writer's clock, in ms.
        act: `moved` (an alias to a version), `withdrawn` (an alias), what happened to a version:
            `published`, `approved`, `rejected`, `retired`, or what happened to a roll-out:
            `rollout_started`, `rollout_ended`.
        actor: the person who decided, or the job that acted for a person.
        reason: the reason in words.
        version, digest: the version concerned; None when an alias is withdrawn.
        alias, from_version: only for `moved` and `withdrawn`: the alias, and the version that it
            pointed to before; `from_version` is None if the alias wasn't set.
        evidence: digest of the material the actor decided on, such as a training report.
        user: the user of the operating system and the machine, `user@host`; unset in older lines.
        waived: names of failed gates that the actor lets pass; unset where there are none.
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
    user: str | UnsetType = UNSET
    waived: list[str] | UnsetType = UNSET


class _Sealed(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    chain: str


class ApprovalsHead(msgspec.Struct, frozen=True):
    """The head of a log as kept in a second place: how many entries, and the chain of the last.

    >>> read_head(encode_head(ApprovalsHead(3, "ab")))
    ApprovalsHead(entries=3, head='ab')
    """

    entries: int
    head: str


@dataclass(frozen=True, slots=True)
class ApprovalsLog:
    """An approvals log as read from its bytes.

    Attributes:
        entries: all entries, oldest first.
        chains: the chain of each entry.
        whole_bytes: length of the file without an incomplete last line.
    """

    entries: tuple[Entry, ...] = ()
    chains: tuple[str, ...] = ()
    whole_bytes: int = 0

    @property
    def head(self) -> str:
        """The chain of the last line, to be continued by the next."""
        return self.chains[-1] if self.chains else GENESIS

    def check_continues(self, head: ApprovalsHead, where: str) -> None:
        """Check that the log is the one that had this head, or a continuation of it.

        Raises:
            StateError: lines were cut off at the end, or replaced.
        """
        if len(self.entries) < head.entries:
            raise StateError(
                f"the approvals log has {len(self.entries)} entries of {head.entries}: the last "
                "ones were cut off",
                where=where,
                hint="restore approvals.log from a copy",
            )
        if head.entries and self.chains[head.entries - 1] != head.head:
            raise StateError(
                f"entry {head.entries} of the approvals log is not the one that was written",
                where=where,
                hint="restore approvals.log from a copy",
            )

    def version(self, version: int) -> Entry | None:
        """Return the entry that published a version; None if the version doesn't exist."""
        for entry in self.entries:
            if entry.act == "published" and entry.version == version:
                return entry
        return None

    def alias(self, alias: str) -> Entry | None:
        """Return the entry that moved an alias to its version; None if the alias isn't set."""
        return _last_move([entry for entry in self.entries if entry.alias == alias])

    def state(self, version: int) -> State | None:
        """Return what was decided last about a version; None if it doesn't exist.

        A version is pending when it is published. To put it in charge is to approve it: so were all
        champions of logs from before there were states.
        """
        return self.states().get(version)

    def states(self) -> dict[int, State]:
        """Return the state of every version, oldest first."""
        states: dict[int, State] = {}
        for entry in self.entries:
            if entry.version is None:
                continue
            if entry.act in _STATES:
                states[entry.version] = _STATES[entry.act]
            elif entry.act == "moved" and entry.alias == CHAMPION:
                states[entry.version] = "approved"
        return states

    def about(self, version: int) -> list[Entry]:
        """Return the entries about a version, oldest first."""
        return [
            entry
            for entry in self.entries
            if entry.version == version and (entry.act in _STATES or entry.act == "moved")
        ]

    def waivers(self, version: int) -> dict[str, Entry]:
        """Return the gates that were waived for a version, each with the newest entry that did."""
        return {
            gate: entry
            for entry in self.about(version)
            if entry.waived is not UNSET
            for gate in entry.waived
        }

    def published(self) -> dict[int, str]:
        """Return the published versions and the digests of their manifests, oldest first."""
        return {
            entry.version: entry.digest
            for entry in self.entries
            if entry.act == "published" and entry.version is not None and entry.digest is not None
        }

    def text(self, number: int) -> bytes:
        """Return the line of an entry, newline included, as it stands in the log."""
        return _sealed_line(self.entries[number - 1], self.chains[number - 1])

    def live_at(self, alias: str, at_ms: int) -> Entry | None:
        """Return the entry by which an alias was set at a time: version, who, why and when.

        None if the alias wasn't set then. If the clocks of two writers disagree, the order of the
        log decides.
        """
        return _last_move(
            [entry for entry in self.entries if entry.alias == alias and entry.at_ms <= at_ms]
        )

    def rollout(self, version: int) -> Entry | None:
        """Return the entry that started a roll-out; None if there is none of that number."""
        for entry in self.entries:
            if entry.act == "rollout_started" and entry.version == version:
                return entry
        return None

    def rollout_in_force(self) -> Entry | None:
        """Return the entry that started the roll-out in force; None if there is none.

        It ends by its own entry, when the next one starts, and when the champion changes: what it
        compares its models with isn't in charge any more.
        """
        for entry in reversed(self.entries):
            if entry.act == "rollout_started":
                return entry
            if entry.act == "rollout_ended" or entry.alias == CHAMPION:
                return None
        return None

    def aliases(self) -> dict[str, int]:
        """Return every alias that is set and its version, in the order of their names."""
        names = sorted({entry.alias for entry in self.entries if entry.alias is not None})
        moves = {name: self.alias(name) for name in names}
        return {
            name: entry.version
            for name, entry in moves.items()
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
        user: str = "",
        waived: Sequence[str] = (),
    ) -> tuple[Entry, bytes]:
        """Build the next entry and the bytes to append, newline included.

        Raises:
            StateError: the actor or the reason is empty or too long; an approval without them
                could not be accounted for.
        """
        for text, what in ((actor, "actor"), (reason, "reason")):
            if not text.strip() or len(text) > MAX_TEXT_LENGTH:
                raise StateError(
                    f"the {what} is empty or longer than {MAX_TEXT_LENGTH} characters",
                    where="approvals",
                    hint="say who decided, and why",
                )
        entry = Entry(
            number=len(self.entries) + 1, at_ms=at_ms, act=act, actor=actor, reason=reason,
            version=version, digest=digest, alias=alias, from_version=from_version,
            evidence=evidence, user=user or UNSET, waived=list(waived) or UNSET,
        )  # fmt: skip
        body = msgspec.json.encode(entry)
        return entry, _sealed_line(entry, hashlib.sha256(self.head.encode() + body).hexdigest())

    def extended(self, content: bytes, where: str = "approvals.log") -> ApprovalsLog:
        """Return the log with further lines; an incomplete last line (no newline) is ignored.

        Raises:
            StateError: a line doesn't continue the chain; the error names the first such line.
        """
        whole = content.rfind(b"\n") + 1
        entries, chains = list(self.entries), list(self.chains)
        for line in content[:whole].split(b"\n")[:-1]:
            number = len(entries) + 1
            entry = _read_line(line, chains[-1] if chains else GENESIS)
            if entry is None or entry.number != number:
                raise StateError(
                    "the line is damaged or doesn't continue the chain of the line before",
                    where=f"{where}, line {number}",
                    hint="compare with a copy; the lines after this one can't be trusted either",
                )
            entries.append(entry)
            chains.append(chain_of(line))
        return ApprovalsLog(tuple(entries), tuple(chains), self.whole_bytes + whole)


def read_approvals(content: bytes, where: str = "approvals.log") -> ApprovalsLog:
    """Read a log and verify its chain; an incomplete last line (no newline) is ignored.

    Raises:
        StateError: a line doesn't continue the chain; the error names the first such line.
    """
    return ApprovalsLog().extended(content, where)


def encode_head(head: ApprovalsHead) -> bytes:
    """Return the bytes of a head file: one JSON object on a line."""
    return msgspec.json.encode(head) + b"\n"


def read_head(content: bytes, where: str = "approvals.head") -> ApprovalsHead:
    """Return the head in a head file.

    Raises:
        StateError: the bytes are no head.
    """
    try:
        return msgspec.json.decode(content, type=ApprovalsHead)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(
            "the head of the approvals log is damaged",
            where=where,
            hint="restore the models' folder from a copy; remove this file only when `claimtrace "
            "models history` ends with the last act that you know of",
        ) from error


def _read_line(line: bytes, head: str) -> Entry | None:
    """Decode one line; None if it is damaged or doesn't continue the chain `head`."""
    if not check_seal(line, head):
        return None
    try:
        sealed = msgspec.json.decode(line, type=_Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Entry(**{name: getattr(sealed, name) for name in Entry.__struct_fields__})


def _sealed_line(entry: Entry, chain: str) -> bytes:
    return msgspec.json.encode(entry)[:-1] + b',"chain":"' + chain.encode() + b'"}\n'


def _last_move(about: list[Entry]) -> Entry | None:
    """Return the last of the entries about one alias if it set the alias (not withdrew it)."""
    return about[-1] if about and about[-1].act == "moved" else None


def reign(entries: Sequence[Entry], alias: str) -> list[int]:
    """Return the versions that an alias pointed to, each before the one that took its place.

    The last one is in charge. A move back to one of them takes those after it out: they were rolled
    back. Withdrawing the alias takes all of them out.
    """
    versions: list[int] = []
    for entry in entries:
        if entry.alias != alias:
            continue
        if entry.version is None:
            versions = []
        elif entry.version in versions:
            versions = versions[: versions.index(entry.version) + 1]
        else:
            versions.append(entry.version)
    return versions
