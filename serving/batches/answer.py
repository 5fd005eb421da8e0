"""The answer to one line of a file of claims, as it is kept until the file is answered as a whole.

{"status":"decided","decision":{"advisory":true, ...}}
{"status":"refused","reason":"out_of_range","field":"total_claim_cents","hint":"..."}
{"status":"known"}            decided before; its decision is on the log
{"status":"sent"}             put on the log; its decision will be there
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from claimtrace.looks import AsOf, advisory_answer
from claimtrace.refusals import Refusal

if TYPE_CHECKING:
    from stream.engine.looked import Looked

Status = Literal["decided", "refused", "known", "sent", "empty"]

BAD_ROW: Final = "bad_row"
"""The reason of a row of a table that isn't one: it has more or fewer cells than the header."""


NOTHING: Final = msgspec.Raw(b"")
"""The decision of an answer that has none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one line of a file.

    `decision` is an advisory answer or a sealed decision as JSON, `reason`, `field` and `hint` are
    those of a refusal. `claim_id` is set where the decision has to be looked up on the log.
    """

    status: Status
    claim_id: str = ""
    decision: msgspec.Raw = NOTHING
    reason: str = ""
    field: str = ""
    hint: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Answer).decode


def written(answer: Answer) -> bytes:
    """Return an answer as one line of JSON.

    >>> written(Answer(status="refused", reason="bad_json"))
    b'{"status":"refused","reason":"bad_json"}'
    """
    return _encode(answer)


def read(line: bytes) -> Answer:
    """Return the answer in a line of `written`."""
    return _decode(line)


def refused(refusal: Refusal) -> Answer:
    """Return the answer to a line that is no claim."""
    return Answer(status="refused", reason=refusal.reason, field=refusal.field, hint=refusal.hint)


def refused_conflict() -> Answer:
    """Return the answer to a claim whose id another line has, with other bytes."""
    return refused(Refusal("id_conflict"))


def bad_row(why: str) -> Answer:
    """Return the answer to a row that can't be read as one."""
    return Answer(status="refused", reason=BAD_ROW, hint=why)


def of_looks(looked: Sequence[Looked], claim_ids: Sequence[str], as_of: AsOf) -> list[Answer]:
    """Return the answers to lines that were looked at.

    Args:
        looked: of `Engine.look`.
        claim_ids: the id in each line, for those that are known.
        as_of: the state that was looked at.
    """
    found = []
    for each, claim_id in zip(looked, claim_ids, strict=True):
        if each.decision:
            decision = msgspec.Raw(advisory_answer(each.decision, as_of))
            found.append(Answer(status="decided", decision=decision))
        elif each.refusal is not None:
            found.append(refused(each.refusal))
        elif each.is_known:
            found.append(Answer(status="known", claim_id=claim_id))
        else:
            found.append(Answer(status="empty"))
    return found


def id_in(value: bytes, id_field: str) -> str:
    """Return the id in the JSON of a claim; empty when it has none that can be read.

    >>> id_in(b'{"claim_id":"c-1"}', "claim_id"), id_in(b"{", "claim_id")
    ('c-1', '')
    """
    try:
        claim = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    found = claim.get(id_field) if isinstance(claim, dict) else None
    return found if isinstance(found, str) else ""
