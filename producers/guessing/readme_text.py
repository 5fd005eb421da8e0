"""The text of the README beside a generated domain: what was guessed, and what to do next."""

from __future__ import annotations

from .mapping_text import LABEL_DELAY
from .names import CLAIM_TIME, plain
from .roles import Draft, DraftField


def readme_text(name: str, table: str, draft: Draft) -> str:
    """Return the README.

    Args:
        name: the domain's name.
        table: the path of the table, as seen from the new folder.
        draft: the roles of the columns.
    """
    quoted = "'" + table.replace("'", "'\\''") + "'" if not _is_plain(table) else table
    return "\n".join([
        f"# {name}",
        "",
        f"Written by `claimtrace init` from `{plain(table, 200)}`. Change the files as you like.",
        "",
        f"- `{name}.py`: the domain: event types, features, rules",
        "- `mapping.toml`: which column is which field",
        "- `claimtrace.toml`: settings; commands that run in this folder read it",
        "",
        "Run in this folder:",
        "",
        "```sh",
        f"claimtrace replay {quoted} --mapping mapping.toml",
        "claimtrace stream --until-end",
        *(["claimtrace train"] if draft.label is not None else []),
        "claimtrace features show",
        "```",
        "",
        *_labels(name, draft),
        "## What was guessed",
        "",
        "| column | field | kind |",
        "|---|---|---|",
        *(f"| {_cell(f.column)} | `{f.name}` | {_kind(f)} |" for f in draft.fields),
        _time_row(draft),
        *(f"| {_cell(column)} | - | left out: {why} |" for column, why in draft.left_out),
        "",
        *([*(f"- {note}" for note in draft.notes), ""] if draft.notes else []),
        "Guesses are made from the first rows. When `replay` refuses a later row, it names row and",
        "column: change the kind in `mapping.toml` and the type in the module. After a change of",
        "features or rules start with a new folder (`--folder NAME`): a journal keeps its terms.",
    ]) + "\n"  # fmt: skip


def _labels(name: str, draft: Draft) -> list[str]:
    if draft.label is not None:
        frauds = [plain(v, 20) for v, outcome in draft.label.values.items() if outcome == "fraud"]
        return [
            f"Outcomes come from the column `{plain(draft.label.column)}` ({', '.join(frauds)} is "
            f"fraud), {LABEL_DELAY} after",
            "each claim: say in `mapping.toml` how long an investigation takes in your house.",
            "`claimtrace train` needs some 60 known frauds, spread over the whole time.",
            "",
        ]
    return [
        "No column holds outcomes, so the rules decide alone and `claimtrace train` has nothing to",
        f"learn from. When you know outcomes, put them on the topic `{name}.adjudicated`: a table",
        "with one outcome a row, replayed by a mapping with the fields `adjudication_id`,",
        "`decided_at`, `claim_id` and `outcome` (`fraud` or `legit`). Or, when the table has such",
        "a column, run `claimtrace init` again with `--label COLUMN --fraud VALUE`.",
        "",
    ]


def _time_row(draft: Draft) -> str:
    if not draft.time_column:
        return f"| (the row's number) | `{CLAIM_TIME}` | ten minutes a row |"
    form = draft.times.format or draft.times.unit
    return f"| {_cell(draft.time_column)} | `{CLAIM_TIME}` | time, {form} |"


def _kind(field: DraftField) -> str:
    words = {
        "id": "the claim's id",
        "entity": "an id",
        "category": f"category of {len(field.values)} values",
        "count": "whole number",
        "whole": "whole number",
        "cents": "amount, in cents",
        "scaled": f"decimal number, {field.scale} times the column",
        "float": "number",
        "text": "text",
    }[field.kind]
    return f"{words}, personal data" if field.personal else words


def _cell(column: str) -> str:
    return plain(column) or "(no readable name)"


def _is_plain(path: str) -> bool:
    return bool(path) and all(c.isalnum() or c in "./_-" for c in path) and path[0] != "-"
