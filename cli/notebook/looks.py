"""Looks at claims from a notebook: the state is rebuilt in this process, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from claimtrace.errors import UsageError
from claimtrace.events import Record
from claimtrace.looks import AdvisoryDecision, advisory_answer

from ..wiring.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_encode = msgspec.json.Encoder().encode


def looked(
    workspace: Workspace,
    claims: Sequence[Mapping[str, Any]],
    model: int | None,
    at_plan: int | None,
) -> list[AdvisoryDecision | str]:
    """Return an advisory decision for each claim, or in words why there is none."""
    from serving.batches.batch import Asked

    from ..commands.inspect.looking import open_look

    try:
        values = [_encode(dict(each)) for each in claims]
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a claim can't be written as JSON: {error}", where="claim") from error
    look = open_look(workspace, Asked(at_plan, None, model), quiet=True)
    topic, now_ms = workspace.domain.claim.topic, look.log_time_ms
    records = [Record(topic, 0, at, None, value, now_ms) for at, value in enumerate(values)]
    schemas = workspace.schemas
    unknown = schemas.unknown_in(records) if schemas is not None else ()
    answers: list[AdvisoryDecision | str] = []
    for each in look.engine.look(records, charge=look.charge, unknown_schemas=unknown):
        if each.decision:
            written = advisory_answer(each.decision, look.as_of)
            answers.append(msgspec.json.decode(written, type=AdvisoryDecision))
        elif each.refusal is not None:
            why = each.refusal
            field = f" ({why.field})" if why.field else ""
            hint = f": {why.hint}" if why.hint else ""
            answers.append(f"the claim would be refused: {why.reason}{field}{hint}")
        else:
            answers.append("the claim is decided already: project.explain shows how")
    return answers


def looks_frame(
    claims: Sequence[Mapping[str, Any]], answers: Sequence[AdvisoryDecision | str], id_field: str
) -> pd.DataFrame:
    """Return the answers to claims, a row each."""
    import pandas as pd

    rows = [
        (str(claim.get(id_field, "")), None, None, None, None, None, None, answer)
        if isinstance(answer, str)
        else (answer.claim_id, answer.outcome, answer.score, answer.margin,
              answer.model.label if answer.model else None, answer.flags,
              [hit.rule for hit in answer.rules], None)
        for claim, answer in zip(claims, answers, strict=True)
    ]  # fmt: skip
    columns = ["claim_id", "outcome", "score", "margin", "model", "flags", "rules", "refused"]
    texts = dict.fromkeys(("claim_id", "outcome", "model", "refused"), "string")
    return pd.DataFrame(rows, columns=columns).astype({**texts, "score": "float64",
                                                       "margin": "float64"})  # fmt: skip
