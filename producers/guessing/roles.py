"""The role of each column: id, time, entity, amount, outcome, or a field of its own type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal, NamedTuple

from claimtrace.errors import UsageError

from .column_facts import Column, Facts, Times, facts_of, fits
from .names import CLAIM_ID, CLAIM_TIME, CURRENCY, entity_word, name_for, plain

Kind = Literal["id", "entity", "category", "count", "whole", "cents", "scaled", "float", "text"]

MOST_FIELDS: Final = 60
"""A claim with more fields is read by the slow parser."""
MOST_VALUES: Final = 12
"""The most values of a category that get a feature each."""
_MOST_ENTITIES: Final = 2
_MOST_DECIMALS: Final = 4
_LARGEST_COUNT: Final = 1_000_000
_LARGEST: Final = 10**11

_ID_WORDS: Final = re.compile(r"claim|payment|transaction|event|case|row|record")
_IDENTIFIES: Final = re.compile(r"(^|_)(id|ids|number|num|no|nr|key|code|ref|hash)$")
_ENTITY_WORDS: Final = (
    "policy", "customer", "client", "member", "insured", "person", "account", "card", "shop",
    "garage", "provider", "clinic", "doctor", "physician", "hospital", "merchant", "terminal",
    "vendor", "agent", "broker", "vehicle", "vin", "plate", "phone", "email", "iban", "address",
)  # fmt: skip
_TIME_WORDS: Final = ("filed", "reported", "claim", "created", "transaction", "submitted",
                      "received", "paid", "time", "date")  # fmt: skip
_AMOUNT_WORDS: Final = ("total_claim", "claim_amount", "total_amount", "amount", "amt", "total",
                        "paid", "cost", "price", "value", "sum", "loss", "charge")  # fmt: skip
_LABEL_WORDS: Final = ("is_fraud", "fraud", "label", "target", "class", "outcome")
_PERSONAL: Final = re.compile(
    r"phone|mobile|mail|address|street|name|iban|account|ssn|birth|dob|passport|licen[cs]e|(^|_)ip(_|$)"
)
_TRUE: Final = frozenset(["1", "1.0", "true", "t", "yes", "y", "fraud", "fraudulent"])
_VALUE: Final = re.compile(r"[\w .,:/+&()-]{1,40}")


class Choices(NamedTuple):
    """Columns that the user has named; None: guess."""

    id: str | None = None
    time: str | None = None
    time_format: str | None = None
    entities: tuple[str, ...] = ()
    amount: str | None = None
    label: str | None = None
    fraud: str | None = None
    """The text of the label column that means fraud."""


class DraftField(NamedTuple):
    """A field of the claim: its name, the column it is read from, and its kind."""

    name: str
    column: str
    kind: Kind
    scale: int = 1
    values: tuple[str, ...] = ()
    """The values of a category."""
    personal: bool = False


class DraftEntity(NamedTuple):
    """An entity: its word, and the field that identifies it."""

    word: str
    field: str


class DraftLabel(NamedTuple):
    """The outcome column: its name, and the outcome of each of its texts."""

    column: str
    values: Mapping[str, str]


@dataclass
class Draft:
    """Everything that the generated files say."""

    id_column: str
    time_column: str
    """Empty: no column holds a time, so rows are ten minutes apart."""
    times: Times
    fields: list[DraftField] = field(default_factory=list)
    entities: list[DraftEntity] = field(default_factory=list)
    amount: str = ""
    """The field of the claim's value."""
    label: DraftLabel | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Columns without a field, and why."""
    notes: list[str] = field(default_factory=list)


def draft_of(columns: Sequence[Column], choices: Choices, where: str) -> Draft:
    """Guess the roles of all columns.

    Args:
        columns: of the sample, each name once.
        choices: what the user has said.
        where: the file, for errors.

    Raises:
        UsageError: a column that was named doesn't exist or can't have its role, or no column can
            be the id of a claim.
    """
    facts = {column.name: facts_of(column) for column in columns}
    _check_names(choices, facts, where)
    id_column = choices.id or guess_id(facts)
    if not id_column or not facts[id_column].fits_ids:
        raise UsageError(
            f"column {id_column} can't be the claim's id" if id_column
            else "no column can be the claim's id",
            where=where,
            hint="an id is in every row, each row has another one, of letters, digits and ._:-; "
            "name a column by --id",
        )  # fmt: skip
    time_column, times = _time(facts, choices, where)
    draft = Draft(id_column, time_column, times)
    if not time_column:
        draft.notes.append(
            "no column holds a time: rows count as ten minutes apart, in their order"
        )
    elif times.other:
        draft.notes.append(f"times in {plain(time_column)} are read as {times.format}; "
                           f"{times.other} fits as well: see --time-format")  # fmt: skip
    draft.label = _label(facts, choices, where)
    if draft.label is not None and len(facts[draft.label.column].values) > 2:
        legit = [plain(text, 20) for text, kind in draft.label.values.items() if kind == "legit"]
        draft.notes.append(f"{', '.join(legit)} count as legitimate: take out of [label] in "
                           "mapping.toml what isn't an outcome yet")  # fmt: skip
    _add_fields(draft, facts, choices)
    _check_chosen(draft, choices, where)
    _add_entities(draft, facts, choices)
    return draft


def guess_id(facts: Mapping[str, Facts]) -> str:
    """Return the column that is most likely the claim's id; empty when there is none."""
    fitting = [n for n, each in facts.items() if n and each.fits_ids and each.type != "decimal"]

    def rank(name: str) -> tuple[bool, bool, bool]:
        words = name_for(name, (), 1)
        named = bool(_IDENTIFIES.search(words)) or words == "id_"
        return not (named and _ID_WORDS.search(words)), not named, facts[name].times is not None

    return min(fitting, key=rank, default="")  # the first of equals: `min` is stable


def guess_time(facts: Mapping[str, Facts]) -> str:
    """Return the column that most likely says when a claim was filed; empty when there is none."""
    sure = [
        name for name, each in facts.items()
        if name and each.times is not None and each.filled == each.rows
        and (each.type == "time" or _rank(name, ("time", "date", "_at", "stamp")) < 4)
    ]  # fmt: skip
    return min(sure, key=lambda name: _rank(name, _TIME_WORDS), default="")


def _check_names(choices: Choices, facts: Mapping[str, Facts], where: str) -> None:
    named = [choices.id, choices.time, choices.amount, choices.label, *choices.entities]
    given = [name for name in named if name is not None]
    for name in given:
        if name not in facts or not name:
            near = get_close_matches(name, facts, n=1, cutoff=0.5)
            listed = ", ".join(plain(each) for each in list(facts)[:30])
            hint = f"did you mean {plain(near[0])}?" if near else f"it has {listed}"
            raise UsageError(f"there is no column {plain(name)}", where=where, hint=hint)
        if given.count(name) > 1 and not (name == choices.id and name in choices.entities):
            raise UsageError(f"column {plain(name)} can't have two roles", where=where)


def _check_chosen(draft: Draft, choices: Choices, where: str) -> None:
    """Refuse a choice that came to nothing."""
    why = dict(draft.left_out)
    columns = {each.column for each in draft.fields}
    for column in choices.entities:
        if column not in columns:
            reason = why.get(column, "it is the time or the outcome")
            raise UsageError(f"column {plain(column)} can't be an entity: {reason}", where=where)
    if choices.amount and not draft.amount:
        raise UsageError(
            f"column {plain(choices.amount)} can't be the amount", where=where,
            hint="an amount is a number of at most two decimals, and never negative",
        )  # fmt: skip


def _time(facts: Mapping[str, Facts], choices: Choices, where: str) -> tuple[str, Times]:
    column = choices.time or guess_time(facts)
    if not column:
        return "", Times("iso")
    if choices.time_format:
        values = [value for value, _ in facts[column].values]
        odd = next((value for value in values if not fits(value, choices.time_format)), None)
        if odd is not None or not values:
            raise UsageError(f"{plain(odd or '')!r} isn't a time of the form "
                             f"{plain(choices.time_format)}", where=where)  # fmt: skip
        return column, Times("iso", choices.time_format)
    times = facts[column].times
    if times is None:
        raise UsageError(
            f"column {plain(column)} can't be read as times", where=where,
            hint="say its form by --time-format, such as %d.%m.%Y, or name another one by --time",
        )  # fmt: skip
    return column, times


def _label(facts: Mapping[str, Facts], choices: Choices, where: str) -> DraftLabel | None:
    column = choices.label
    if column is None:
        fitting = [n for n, each in facts.items() if n and 0 < each.distinct <= MOST_VALUES]
        named = [n for n in fitting if _rank(n, _LABEL_WORDS) < len(_LABEL_WORDS)
                 and any(value.lower() in _TRUE for value, _ in facts[n].values)]  # fmt: skip
        column = min(named, key=lambda name: _rank(name, _LABEL_WORDS), default=None)
    if column is None:
        return None
    values = [value for value, _ in facts[column].values]
    if len(values) > MOST_VALUES:
        raise UsageError(f"column {plain(column)} has too many values for an outcome", where=where,
                         hint="name another one by --label")  # fmt: skip
    frauds = [v for v in values if (v == choices.fraud if choices.fraud else v.lower() in _TRUE)]
    if not frauds:
        listed = ", ".join(plain(value, 20) for value in values)
        raise UsageError(f"no value of column {plain(column)} means fraud", where=where,
                         hint=f"name one by --fraud; it has {listed}")  # fmt: skip
    outcomes = {}
    for value in values:
        for spelled in _spellings(value):
            outcomes[spelled] = "fraud" if value in frauds else "legit"
    return DraftLabel(column, outcomes)


def _spellings(value: str) -> list[str]:
    """Return the texts that a cell may be read as: a whole float and a bool have two."""
    found = [value]
    if re.fullmatch(r"[0-9]+\.0", value):
        found.append(value[:-2])
    if value in ("True", "False"):
        found.append(value.lower())
    return found


def _rank(name: str, words: Sequence[str]) -> int:
    """Return the place of the first word that a name contains; the number of words for none."""
    snake = name_for(name, (), 1)
    return next((at for at, word in enumerate(words) if word in snake), len(words))


def _add_fields(draft: Draft, facts: Mapping[str, Facts], choices: Choices) -> None:
    taken = {CLAIM_ID, CLAIM_TIME, CURRENCY}
    draft.fields.append(DraftField(CLAIM_ID, draft.id_column, "id"))
    used = {draft.id_column, draft.time_column, draft.label.column if draft.label else ""}
    amount = choices.amount or _guess_amount(facts, used)
    for place, (column, each) in enumerate(facts.items(), 1):
        if column in used:
            continue
        why = _why_left_out(column, each)
        wanted = column in choices.entities or column == amount
        if why or (len(draft.fields) >= MOST_FIELDS and not wanted):
            draft.left_out.append((column, why or f"more than {MOST_FIELDS} fields"))
            continue
        made = _field(column, each, choices, name_for(column, taken, place), amount)
        if made.name in taken:
            made = made._replace(name=name_for(made.name, taken, place))
        taken.add(made.name)
        draft.fields.append(made)
        if column == amount and made.kind == "cents":
            draft.amount = made.name


def _why_left_out(column: str, facts: Facts) -> str:
    if not column:
        return "it has no name"
    if facts.type == "empty":
        return "it is empty in the sample"
    if facts.type == "other":
        return "its cells aren't single values"
    if facts.type == "time":
        return "a second time: add it to the module when its cells are ISO 8601 with a zone"
    return ""


def _guess_amount(facts: Mapping[str, Facts], used: set[str]) -> str:
    fitting = [
        name for name, each in facts.items()
        if name and name not in used and each.type in ("integer", "decimal") and each.decimals <= 2
        and each.low >= 0 and each.high < _LARGEST / 100 and not _looks_like_id(name)
        and _rank(name, _AMOUNT_WORDS) < len(_AMOUNT_WORDS)
    ]  # fmt: skip
    return min(fitting, key=lambda name: _rank(name, _AMOUNT_WORDS), default="")


def _looks_like_id(column: str) -> bool:
    name = name_for(column, (), 1)
    return bool(_IDENTIFIES.search(name)) and not name.startswith(("num_", "number_of"))


def _field(
    column: str, facts: Facts, choices: Choices, name: str, amount: str
) -> DraftField:  # fmt: skip
    """Return the field of a column by its facts."""
    personal = bool(_PERSONAL.search(name))
    if column in choices.entities:
        return DraftField(name, column, "entity", personal=personal)
    if facts.type in ("integer", "decimal") and not _looks_like_id(column):
        return _number_field(column, facts, name, column == amount)
    if facts.type != "decimal" and _looks_like_id(column):
        return DraftField(name, column, "entity", personal=personal)
    values = category_values(facts)
    if values:
        return DraftField(name, column, "category", values=values, personal=personal)
    short = all(len(value) <= 100 for value, _ in facts.values)
    return DraftField(name, column, "entity" if short else "text", personal=personal)


def _number_field(column: str, facts: Facts, name: str, is_amount: bool) -> DraftField:
    if is_amount and facts.decimals <= 2 and facts.low >= 0 and facts.high < _LARGEST / 100:
        stem = re.sub(r"_(cents|eur|usd|gbp)$", "", name).rstrip("_")
        return DraftField(f"{stem}_cents", column, "cents", 100)
    if facts.decimals == 0 and facts.low >= 0 and facts.high <= _LARGEST_COUNT:
        return DraftField(name, column, "count")
    scale = 10**facts.decimals
    if facts.decimals > _MOST_DECIMALS or max(-facts.low, facts.high) * scale > _LARGEST:
        return DraftField(name, column, "float")
    if facts.decimals == 0:
        return DraftField(name, column, "whole")
    return DraftField(f"{name.rstrip('_')}_x{scale}", column, "scaled", scale)


def category_values(facts: Facts) -> tuple[str, ...]:
    """Return the values of a category, in order; empty when the column isn't one.

    Values that differ in case or symbols only are one: the first of them is taken.
    """
    if facts.distinct > MOST_VALUES or facts.distinct * 3 > facts.filled:
        return ()
    found: dict[str, str] = {}
    for value, _ in sorted(facts.values):
        normal = re.sub(r"[\W_]+", "", value.casefold())
        if normal and _VALUE.fullmatch(value) and value.isprintable():
            found.setdefault(normal, value)
    return tuple(found.values())


def _add_entities(draft: Draft, facts: Mapping[str, Facts], choices: Choices) -> None:
    """Choose the entities: those that were named, else ids that come again, else the claim's id."""
    by_column = {each.column: each for each in draft.fields}
    chosen = [by_column[column] for column in choices.entities if column in by_column]
    if not chosen:
        again = [f for f in draft.fields if f.kind == "entity" and _comes_again(facts[f.column])]
        rank: Callable[[DraftField], int] = lambda f: _rank(f.name, _ENTITY_WORDS)  # noqa: E731
        chosen = sorted(again, key=rank)[:_MOST_ENTITIES]
    if not chosen:
        chosen = [draft.fields[0]]
        draft.notes.append("no id comes in several rows, so windows count nothing yet: name one by "
                           "--entity")  # fmt: skip
    words: set[str] = set()
    for each in chosen:
        word = name_for(entity_word(each.name), words, 1)
        words.add(word)
        draft.entities.append(DraftEntity(word, each.name))


def _comes_again(facts: Facts) -> bool:
    return facts.distinct > 1 and facts.distinct < 0.98 * facts.filled
