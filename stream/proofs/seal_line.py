"""The seal: all heads of a folder in one line, for a notary outside of it.

    claimtrace-seal/1 domain=auto_claims at=1764520000000 journal=63:HASH decisions/0=8101:HASH ...
    inputs/claims.filed/0=8190 ... approvals=2:HASH offline/decisions=5 sum=HASH

Numbers count from the beginning: plans, decisions, records, entries; `offline/` has versions of
tables. Whoever kept the line can later check that a folder continues it: then nothing that was
there has been dropped or replaced since. The sum only finds typing errors.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from claimtrace.decisions import GENESIS
from claimtrace.errors import UsageError
from claimtrace.ids import digest_of

from ..journal.plan import Plan

PREFIX: Final = "claimtrace-seal/1"
MAX_CHARS: Final = 1_000_000
"""Enough for more than ten thousand partitions."""

_WORD: Final = re.compile(r"([a-z_]+(?:/[\w.\-]{1,255}){0,2})=([\w.\-]{1,255})(?::([0-9a-f]{64}))?")
_SUM_CHARS: Final = 16


class Counted(NamedTuple):
    """A number of things from the beginning, and the hash of the last of them."""

    number: int
    head: str


class Seal(NamedTuple):
    """The heads of a folder.

    Attributes:
        domain: the name of the domain.
        at_ms: the time of the seal, for people.
        journal: plans, and a hash over all of them.
        decisions: by partition.
        inputs: records by (topic, partition), as planned.
        approvals: entries of the approvals log; None without a registry.
        offline: versions of the tables; empty without an offline store.
    """

    domain: str
    at_ms: int
    journal: Counted
    decisions: Mapping[int, Counted]
    inputs: Mapping[tuple[str, int], int]
    approvals: Counted | None
    offline: Mapping[str, int]


def journal_heads(plans: Iterable[Plan]) -> list[str]:
    """Return the hash over the plans up to each of them; the first is that of no plan."""
    heads = [GENESIS]
    for plan in plans:
        heads.append(hashlib.sha256((heads[-1] + digest_of(plan)).encode()).hexdigest())
    return heads


def line_of(seal: Seal) -> str:
    """Return a seal as one line, without a newline.

    >>> seal = Seal("auto", 5, Counted(1, "a" * 64), {0: Counted(2, "b" * 64)}, {("t", 0): 3}, None,
    ...             {"labels": 4})
    >>> seal_of(line_of(seal)) == seal
    True
    """
    words = [PREFIX, f"domain={seal.domain}", f"at={seal.at_ms}", f"journal={_word(seal.journal)}"]
    words += [f"decisions/{p}={_word(each)}" for p, each in sorted(seal.decisions.items())]
    words += [f"inputs/{t}/{p}={count}" for (t, p), count in sorted(seal.inputs.items())]
    if seal.approvals is not None:
        words.append(f"approvals={_word(seal.approvals)}")
    words += [f"offline/{name}={version}" for name, version in sorted(seal.offline.items())]
    text = " ".join(words)
    return f"{text} sum={_sum(text)}"


def seal_of(line: str) -> Seal:
    """Read a seal; white space between its words may have changed.

    Raises:
        UsageError: the line is no seal, or a character of it is another one.
    """
    words = line[: MAX_CHARS + 1].split()
    if len(line) > MAX_CHARS or not words or words[0] != PREFIX:
        raise _no_seal(f"it doesn't begin with {PREFIX}")
    text = " ".join(words[:-1])
    if words[-1] != f"sum={_sum(text)}":
        raise _no_seal("its sum is wrong: a part is missing, or was changed")
    found = [_WORD.fullmatch(word) for word in words[1:-1]]
    texts: dict[str, str] = {}
    heads: dict[str, str] = {}
    for each in found:
        if each is None or each[1] in texts:
            raise _no_seal("a word of it is none of ours")
        texts[each[1]] = each[2]
        heads[each[1]] = each[3] or ""
    try:
        return _seal(texts, heads)
    except (KeyError, ValueError):
        raise _no_seal("a word of it is none of ours") from None


def _seal(texts: Mapping[str, str], heads: Mapping[str, str]) -> Seal:
    def counted(name: str) -> Counted:
        if not heads[name]:
            raise ValueError(name)
        return Counted(int(texts[name]), heads[name])

    decisions: dict[int, Counted] = {}
    inputs: dict[tuple[str, int], int] = {}
    offline: dict[str, int] = {}
    for name in texts:
        kind, _, rest = name.partition("/")
        if kind == "decisions":
            decisions[int(rest)] = counted(name)
        elif kind == "inputs":
            topic, _, partition = rest.rpartition("/")
            inputs[topic, int(partition)] = int(texts[name])
        elif kind == "offline":
            offline[rest] = int(texts[name])
        elif name not in ("domain", "at", "journal", "approvals"):
            raise ValueError(name)
    approvals = counted("approvals") if "approvals" in texts else None
    journal = counted("journal")
    return Seal(texts["domain"], int(texts["at"]), journal, decisions, inputs, approvals, offline)


def journal_problems(seal: Seal, heads: list[str]) -> list[str]:
    """Compare a seal with a journal.

    Args:
        seal: of an earlier time.
        heads: of `journal_heads`.
    """
    count, head = seal.journal
    if len(heads) <= count:
        return [f"journal: {len(heads) - 1:,} plans, the seal has {count:,}"]
    return [] if heads[count] == head else [f"journal: its first {count:,} plans are other ones"]


def later_problems(seal: Seal, later: Seal) -> list[str]:
    """Compare the counts of a seal with those of a later one: none may be smaller.

    The heads are compared elsewhere: with the log, the journal and the approvals.
    """
    if seal.domain != later.domain:
        return [f"the seal is of the domain {seal.domain}, this is {later.domain}"]
    problems = [
        f"{topic}/{partition}: {later.inputs.get((topic, partition), 0):,} records are planned, "
        f"the seal has {count:,}"
        for (topic, partition), count in seal.inputs.items()
        if later.inputs.get((topic, partition), 0) < count
    ]
    if later.offline:  # a copy may leave the offline store out
        problems += [
            f"offline: {name} is at version {later.offline.get(name, -1):,}, the seal has {version}"
            for name, version in seal.offline.items()
            if later.offline.get(name, -1) < version
        ]
    return problems


def planned_ends(plans: Iterable[Plan]) -> dict[tuple[str, int], int]:
    """Return the position behind the last planned record of each topic-partition."""
    ends: dict[tuple[str, int], int] = {}
    for plan in plans:
        for span in plan.ranges:
            key = span.topic, span.partition
            ends[key] = max(ends.get(key, 0), span.to_position)
    return ends


def _word(counted: Counted) -> str:
    return f"{counted.number}:{counted.head}"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SUM_CHARS]


def _no_seal(why: str) -> UsageError:
    return UsageError(
        f"this is no seal: {why}", where="--against",
        hint="give the whole line that `claimtrace seal` printed, in quotes, or a file with it",
    )  # fmt: skip
