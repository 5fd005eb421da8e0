"""The texts of a generated mapping and of the settings that go with it, as TOML."""

from __future__ import annotations

import json
from typing import Final

from .names import CLAIM_ID, CLAIM_TIME, CURRENCY
from .roles import Draft, DraftField
from .table_form import TableForm

LABEL_DELAY: Final = "30d"
_FIRST_ROW: Final = "2025-01-01T00:00:00+00:00"


def mapping_text(name: str, currency: str, draft: Draft, form: TableForm) -> str:
    """Return the mapping of a table to the events of a generated domain."""
    signs = form._asdict().items()
    usual = TableForm()._asdict()
    key = draft.entities[0].field
    lines = [
        "# Which column of the table is which field of the claim; written by `claimtrace init`.",
        f'topic = "{name}.filed"',
        f'key = "{key}"',
        f'id_field = "{CLAIM_ID}"',
        *(f"{name} = {_text(sign)}" for name, sign in signs if sign != usual[name]),
        "sort = true  # the rows need not be in the order of their times",
        f"time = {_time(draft)}",
        f'constants = {{ {CURRENCY} = "{currency}" }}',
        "",
        "[fields]",
        *(f"{each.name} = {_column(each)}" for each in draft.fields),
    ]
    if draft.label is not None:
        values = ", ".join(
            f"{_text(value)} = {_text(outcome)}" for value, outcome in draft.label.values.items()
        )
        lines += [
            "",
            "[label]  # the outcome becomes known this long after its claim",
            f"column = {_text(draft.label.column)}",
            f"values = {{ {values} }}",
            f'delay = "{LABEL_DELAY}"',
            f'topic = "{name}.adjudicated"',
            'id_field = "adjudication_id"',
            'time_field = "decided_at"',
            f'event_id_field = "{CLAIM_ID}"',
        ]
    return "\n".join(lines) + "\n"


def settings_text(name: str) -> str:
    """Return the settings file of the folder: commands that run in it use the new domain."""
    return (
        "# Commands that run in this folder read this file; docs/settings.md has all settings.\n"
        f'domain = "{name}"\n'
    )


def _time(draft: Draft) -> str:
    field = f'field = "{CLAIM_TIME}"'
    if not draft.time_column:
        return f'{{ {field}, unit = "row", origin = "{_FIRST_ROW}", every = "10m" }}'
    form = f", format = {_text(draft.times.format)}" if draft.times.format else ""
    return f'{{ {field}, column = {_text(draft.time_column)}, unit = "{draft.times.unit}"{form} }}'


def _column(each: DraftField) -> str:
    column = _text(each.column)
    if each.kind in ("count", "whole"):
        return f'{{ column = {column}, kind = "integer" }}'
    if each.kind == "cents":
        return f'{{ column = {column}, kind = "cents" }}'
    if each.kind == "scaled":
        return f'{{ column = {column}, kind = "cents", scale = {each.scale} }}'
    if each.kind == "float":
        return f'{{ column = {column}, kind = "number" }}'
    return column


def _text(text: str) -> str:
    r"""Return a TOML basic string; its escapes are those of JSON, and DEL is escaped as well.

    >>> print(_text('a"b\\'), _text("x\ny"), _text("\x7f"))
    "a\"b\\" "x\ny" "\u007f"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
