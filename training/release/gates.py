"""Gates: the named conditions under which a version may be released, each with its evidence."""

from __future__ import annotations

from typing import Literal

import msgspec

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
