"""The text of a generated domain module: Python as ruff formats it, whatever the table holds.

Every call has one argument a line and a trailing comma, a form that no line length changes. Texts
from the table are only in literals (`names.literal`); names are those of `names.name_for`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .names import CLAIM_ID, CLAIM_TIME, CURRENCY, literal, plain
from .roles import Draft, DraftEntity, DraftField

_TYPES: Final = {
    "id": "EventId",
    "entity": "EntityId",
    "category": "Category",
    "count": "Count",
    "cents": "Cents",
    "whole": "Whole",
    "scaled": "Whole",
    "float": "float",
    "text": "Text",
}
_NAMES: Final = {"entity": "EntityId", "count": "Count", "cents": "Cents", "text": "Text"}
_WHOLE: Final = """
LARGEST = 100_000_000_000
Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
"""
_WIDTHS: Final = (30, 365)
_MANY: Final = 5


def domain_text(name: str, currency: str, draft: Draft) -> str:
    """Return the module of a domain.

    Args:
        name: the domain's name, a Python name (`names.refused_name`).
        currency: three letters.
        draft: the roles of the columns.
    """
    has_whole = any(each.kind in ("whole", "scaled") for each in draft.fields)
    blocks = [
        f'"""Domain {name}: written by `claimtrace init`, a first version to be changed."""',
        "from __future__ import annotations",
        _imports(draft) + ("\n" + _WHOLE.rstrip("\n") if has_whole else ""),
        "\n" + _claim(name, currency, draft),
        "\n" + _outcome(name),
        "\n" + "\n".join(_entity(each) for each in draft.entities),
        _domain(name, currency, draft),
    ]
    return "\n\n".join(blocks) + "\n"


def _imports(draft: Draft) -> str:
    kinds = {each.kind for each in draft.fields}
    events = {"Category", "Event", "EventId"} | {_NAMES.get(kind, "Event") for kind in kinds}
    language = {"Domain", "Entity", "Labels", "count", "feature", "rule"}
    language.add("total" if draft.amount else "count")
    if kinds & {"count", "cents", "whole", "scaled", "float"}:
        language.add("number")
    if "category" in kinds:
        language.add("one_hot")
    annotated = bool(kinds & {"whole", "scaled"})
    lines = ["from datetime import datetime"]
    personal = any(each.personal for each in draft.fields)
    if personal:
        events.add("Pii")
    if annotated or personal:
        lines.append("from typing import Annotated")
    lines.append("")
    if annotated:
        lines += ["from msgspec import Meta", ""]
    lines.append(_import("claimtrace.events", events))
    lines.append(_import("featurestore.definitions", language))
    return "\n".join(lines)


def _import(module: str, names: Iterable[str]) -> str:
    listed = sorted(names, key=lambda name: (not name[0].isupper(), name))
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in listed) + ")"


def _claim(name: str, currency: str, draft: Draft) -> str:
    lines = [
        "class ClaimFiled(",
        "    Event,",
        f'    topic="{name}.filed",',
        f'    id="{CLAIM_ID}",',
        f'    time="{CLAIM_TIME}",',
        "    frozen=True,",
        "):",
        '    """A row of the table: amounts in cents, times in UTC."""',
        "",
        f"    {CLAIM_ID}: EventId",
        f"    {CLAIM_TIME}: datetime | None = None",
        f'    {CURRENCY}: str = "{currency}"',
    ]
    for each in draft.fields[1:]:
        kind = _TYPES[each.kind]
        if each.personal:
            kind = f"Annotated[{kind}, Pii]"
        lines.append(f"    {each.name}: {kind} | None = None")
    return "\n".join(lines)


def _outcome(name: str) -> str:
    return f'''class ClaimAdjudicated(
    Event,
    topic="{name}.adjudicated",
    id="adjudication_id",
    time="decided_at",
    frozen=True,
):
    """The outcome of a claim: fraud or legit; it may arrive long after the claim."""

    adjudication_id: EventId
    decided_at: datetime | None = None
    claim_id: EventId | None = None
    outcome: Category | None = None
    source: Category | None = None'''


def _entity(each: DraftEntity) -> str:
    return f"{each.word} = Entity(\n    {literal(each.word)},\n    key={literal(each.field)},\n)"


def _domain(name: str, currency: str, draft: Draft) -> str:
    lines = [
        "DOMAIN = Domain(",
        f'    name="{name}",',
        f'    currency="{currency}",',
        "    claim=ClaimFiled,",
        "    labels=Labels(ClaimAdjudicated),",
        f"    split_by={draft.entities[0].word},",
    ]
    if draft.amount:
        lines.append(f'    amount="{draft.amount}",')
    lines.append("    features=(")
    for field in draft.fields[1:]:
        lines += _own(field)
    for entity in draft.entities:
        lines += _windows(entity, draft.amount)
    lines += ["    ),", "    rules=(", *_rule(draft.entities[0]), "    ),", ")"]
    return "\n".join(lines)


def _own(each: DraftField) -> list[str]:
    """Return the lines of a field's own feature; ids and texts have none."""
    words = literal(plain(each.column) or each.name)
    if each.kind == "category":
        values = "".join(f"                {literal(value)},\n" for value in each.values)
        return _call(
            "*one_hot",
            literal(f"claim.{each.name}"),
            literal(each.name),
            f"[\n{values}            ]",
        )
    if each.kind in ("count", "cents", "whole", "scaled", "float"):
        return _call("number", literal(f"claim.{each.name}"), literal(each.name), f"text={words}")
    return []


def _windows(entity: DraftEntity, amount: str) -> list[str]:
    word, (short, long) = entity.word, _WIDTHS
    lines = _call(
        "count", f'"{word}.claims.count.{short}d"', f"of={word}", f'window="{short}d"',
        f'text="claims of this {_words(word)} within {short} days"',
    )  # fmt: skip
    if amount:
        return lines + _call(
            "total", f'"{word}.claimed.sum_cents.{long}d"', f"of={word}", f'value="{amount}"',
            f'window="{long}d"',
            f'text="cents claimed by this {_words(word)} within {long} days"',
        )  # fmt: skip
    return lines + _call(
        "count", f'"{word}.claims.count.{long}d"', f"of={word}", f'window="{long}d"',
        f'text="claims of this {_words(word)} within {long} days"',
    )  # fmt: skip


def _rule(entity: DraftEntity) -> list[str]:
    word, width = entity.word, _WIDTHS[0]
    return _call(
        "rule",
        f'"many_claims_of_{word}"',
        f'feature("{word}.claims.count.{width}d") >= {_MANY}',
        'outcome="review"',
        f'text="{_MANY} or more claims of this {_words(word)} within {width} days"',
    )


def _words(word: str) -> str:
    return word.strip("_").replace("_", " ")


def _call(name: str, *arguments: str) -> list[str]:
    """Return the lines of a call inside of a tuple of the domain, one argument a line."""
    return [f"        {name}(", *(f"            {each}," for each in arguments), "        ),"]
