"""Filters over decisions: as a test of one row, and as a condition in SQL for the offline store."""

from __future__ import annotations

from typing import Final

import msgspec

from claimtrace.errors import UsageError

from .decision_row import STORED, DecisionRow

_NONE: Final = "none"
"""The word for decisions without a model, or without a roll-out's arm."""


class DecisionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions that a decision must meet, all of them; an empty filter lets all through.

    Attributes:
        outcomes: one of these.
        from_ms, to_ms: the log time of the claim, `from_ms` included, `to_ms` not.
        least, most: the score, both included; a decision without a score never meets them.
        claim: the claim with this id.
        policy: claims of this insured policy; only the offline store knows it.
        model: `NAME`, `VERSION` or `NAME/VERSION`; `none` for decisions without a model.
        flags, rules: each of these is on the decision.
        arm: `champion` or `canary`; `none` where no roll-out was in force.

    >>> DecisionFilter(outcomes=("refer",), least=0.5).where()
    "outcome IN ('refer') AND score >= 0.5"
    """

    outcomes: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    least: float | None = None
    most: float | None = None
    claim: str = ""
    policy: str = ""
    model: str = ""
    flags: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    arm: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every decision meets the filter."""
        return self == DecisionFilter()

    def matches(self, row: DecisionRow) -> bool:
        """Whether a decision meets all conditions."""
        name, version = _model_of(self.model)
        return (
            (not self.outcomes or row.outcome in self.outcomes)
            and (self.from_ms is None or row.log_time_ms >= self.from_ms)
            and (self.to_ms is None or row.log_time_ms < self.to_ms)
            and (self.least is None or (row.score is not None and row.score >= self.least))
            and (self.most is None or (row.score is not None and row.score <= self.most))
            and (not self.claim or row.claim_id == self.claim)
            and (not self.policy or row.policy_key == self.policy)
            and (self.model != _NONE or row.model is None)
            and (name is None or row.model == name)
            and (version is None or row.model_version == version)
            and all(each in row.flags for each in self.flags)
            and all(each in row.rules for each in self.rules)
            and (self.arm != _NONE or row.arm is None)
            and (self.arm in ("", _NONE) or row.arm == self.arm)
        )

    def where(self) -> str:
        """Return the conditions in SQL over the table of decisions; `true` when there is none.

        Texts are quoted, so that no value can end its literal.
        """
        name, version = _model_of(self.model)
        found = [
            self.outcomes and f"outcome IN ({', '.join(map(_quoted, self.outcomes))})",
            self.from_ms is not None and f"log_time_ms >= {self.from_ms:d}",
            self.to_ms is not None and f"log_time_ms < {self.to_ms:d}",
            self.least is not None and f"score >= {self.least!r}",
            self.most is not None and f"score <= {self.most!r}",
            self.claim and f"claim_id = {_quoted(self.claim)}",
            self.policy and f"policy_key = {_quoted(self.policy)}",
            self.model == _NONE and "model_name IS NULL",
            name is not None and f"model_name = {_quoted(name)}",
            version is not None and f"model_version = {version:d}",
            *(f"list_contains(flags, {_quoted(each)})" for each in self.flags),
            *(f"list_contains(rules, {_quoted(each)})" for each in self.rules),
            self.arm == _NONE and "arm IS NULL",
            self.arm not in ("", _NONE) and f"arm = {_quoted(self.arm)}",
        ]
        return " AND ".join(each for each in found if each) or "true"

    def newest(self, most: int, *, has_arms: bool = True) -> str:
        """Return the query for the newest decisions that meet the filter, the newest first.

        Args:
            most: the number of rows at most.
            has_arms: whether the table has the columns of roll-outs; an old one hasn't.
        """
        columns = ", ".join(
            "NULL AS arm" if each == "arm" and not has_arms else each for each in STORED
        )
        order = "log_time_ms DESC, partition DESC, position DESC"
        inner = f"SELECT {columns} FROM decisions"  # noqa: S608 - names of ours
        return (
            f"SELECT * FROM ({inner}) WHERE {self.where()} "  # noqa: S608 - quoted above
            f"ORDER BY {order} LIMIT {most:d}"
        )


def check_model(words: str) -> str:
    """Return the words of a filter by model, if they are some.

    Raises:
        UsageError: no model can be named so.

    >>> check_model("auto_claims/3"), check_model("3"), check_model("none")
    ('auto_claims/3', '3', 'none')
    """
    name, slash, version = words.partition("/")
    if words and (not name or (slash and not _is_number(version))):
        raise UsageError(f"{words!r} names no model", where="--model",
                         hint="write NAME, VERSION or NAME/VERSION, such as auto_claims/3; or none",
                         )  # fmt: skip
    return words


def _model_of(words: str) -> tuple[str | None, int | None]:
    """Return the name and the version that a filter asks for, each None where it doesn't."""
    if words in ("", _NONE):
        return None, None
    if _is_number(words):
        return None, int(words)
    name, _, version = words.partition("/")
    return name, int(version) if version else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _quoted(text: str) -> str:
    """Return a text as a literal of SQL.

    >>> _quoted("o'hara")
    "'o''hara'"
    """
    return "'" + text.replace("\0", "").replace("'", "''") + "'"
