"""Gates: the named conditions under which a version may be released, each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from .gate import Verdict

QUALITY: Final = "quality"
"""The gate that compares with the champion, whose words stand for the decision."""

GateState = Literal["passed", "failed", "not evaluable"]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One condition and what was found.

    Attributes:
        name: short name, as used by a waiver, such as `bias`.
        state: `not evaluable` where the data says nothing, such as a group without predictions.
        words: what was measured against which limit, in a sentence that a person can sign.
        evidence: where the figures stand in the report, such as `bias: customer_gender`.
    """

    name: str
    state: GateState
    words: str
    evidence: str


class Decision(NamedTuple):
    """Whether a new version takes charge at once, and why, in words for the approvals log."""

    promote: bool
    words: str


def decide(
    gates: Sequence[Gate], verdict: Verdict, *, promote: Literal["auto", "ask"], four_eyes: bool
) -> Decision:
    """Decide about a new version: it takes charge if no gate failed and nobody is to be asked.

    A gate that isn't evaluable keeps nobody back: there is no evidence against the version.

    Args:
        verdict: the comparison with the champion, which the gate `quality` is made of.
        promote: the setting `training.promote`.
        four_eyes: the setting `approval.four_eyes`.

    >>> failed = Gate(name="size", state="failed", words="900 trees, at most 600", evidence="size")
    >>> decide([failed], Verdict(True, "promoted: better"), promote="auto", four_eyes=False).words
    'waits for a person: it failed the gate size. Quality: better'
    """
    failed = [gate.name for gate in gates if gate.state == "failed"]
    if not failed and promote == "auto" and not four_eyes:
        return Decision(True, verdict.words)
    if failed == [QUALITY]:
        return Decision(False, verdict.words)
    asked = "approval.four_eyes is on" if four_eyes else "training.promote is ask"
    why = f"it failed the gate{'s' * (len(failed) > 1)} {', '.join(failed)}" if failed else asked
    return Decision(False, f"waits for a person: {why}. Quality: {finding_of(verdict)}")


def finding_of(verdict: Verdict) -> str:
    """Return what was found about quality, without the decision.

    >>> finding_of(Verdict(False, "kept the champion: no better. AUC .7 against .8"))
    'no better. AUC .7 against .8'
    """
    return verdict.words.partition(": ")[2] or verdict.words


def gate_rows(gates: Sequence[Gate]) -> tuple[str, list[str], list[list[str]]]:
    """Lay out gates as a table: title, header and rows."""
    rows = [[gate.name, gate.state, gate.words] for gate in gates]
    return "Gates", ["gate", "state", "what was found"], rows
