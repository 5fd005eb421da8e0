"""Whatever a table holds, its guessed domain is a valid, formatted module, or a user's error."""

from __future__ import annotations

import ast
import keyword
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimtrace.errors import UsageError
from claimtrace.rooms import ROOMS
from producers.guessing.column_facts import Column, facts_of
from producers.guessing.domain_text import domain_text
from producers.guessing.mapping_text import mapping_text, settings_text
from producers.guessing.names import RESERVED, literal, name_for, plain, refused_name
from producers.guessing.readme_text import readme_text
from producers.guessing.roles import Choices, Draft, draft_of
from producers.guessing.table_form import TableForm
from producers.replay.mapping import load_mapping

NASTY = [
    "", " ", "class", "def", "id", "ID", "type", "currency", "claim_id", "filed_at", "datetime",
    "Count", "count", "Annotated", "total", "x" * 300, "1st", "金額", "a\nb", 'say "x"', "it's",
    "back\\slash", "'; import os #", '"""', "\u202e", "{}", "%s", "]]", "fraud", "Fraud?",
    "is_fraud", "policy_number", "Policy Number", "policy-number", "amount", "Amount (EUR)", "date",
    "Date", "phone", "e-mail", "\x00", "\x7f", "DOMAIN", "Event", "Whole", "policy", "policy_id",
]  # fmt: skip
NAMES = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
CELLS = st.one_of(
    st.none(),
    st.sampled_from([
        "0", "1", "-1", "7.0", "007", "10.50", "1e9", "nan", "NA", "?", "-", "true", "No", "Yes",
        "2024-01-31", "2024-01-31T10:00:00Z", "31.01.2024", "01/02/2024", "1700000000",
        "1700000000000", "99999999999999999999", "0.123456789", "9999-12-31", "a'b\"c", "\n", "é",
    ]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(-(10**15), 10**15).map(str),
    st.floats(allow_nan=False).map(str),
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> list[Column]:
    names = draw(st.lists(NAMES, min_size=0, max_size=8, unique=True))
    rows = draw(st.integers(1, 6))
    ids = [f"c-{i}" for i in range(rows)]
    columns = [Column('the claim\'s "id"', "text", list(ids))]
    for name in names:
        kinds = st.sampled_from(["text", "text", "number", "bool", "time", "other"])
        cells = draw(st.lists(CELLS, min_size=rows, max_size=rows))
        if name != columns[0].name:
            columns.append(Column(name, draw(kinds), cells))
    return columns


def texts(draft: Draft) -> dict[str, str]:
    return {
        "motor.py": domain_text("motor", "EUR", draft),
        "mapping.toml": mapping_text("motor", "EUR", draft, TableForm()),
        "claimtrace.toml": settings_text("motor"),
        "README.md": readme_text("motor", "../my claims.csv", draft),
    }


def names_in(module: str) -> list[str]:
    """Fields of all classes and variables of a module."""
    tree = ast.parse(module)
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    found = []
    for body in bodies:
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.append(node.target.id)
            if isinstance(node, ast.Assign):
                found += [each.id for each in node.targets if isinstance(each, ast.Name)]
    return found


SEEN: list[str] = []
KNOWN = 'lint.isort.known-first-party = ["claimtrace", "featurestore"]'
CHECK = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name).DOMAIN.definitions_digest
"""


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(tables(), st.sampled_from([None, 'the claim\'s "id"']))
def test_any_table_gives_a_valid_module_and_mapping(columns: list[Column], chosen: str) -> None:
    try:
        draft = draft_of(columns, Choices(id=chosen), "claims.csv")
    except UsageError:
        return  # says what to name by an option
    made = texts(draft)
    SEEN.append(made["motor.py"])
    for name in names_in(made["motor.py"]):
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
    fields = [each.name for each in draft.fields]
    assert len(fields) == len(set(fields))
    assert not set(fields[1:]) & RESERVED
    mapping = load_mapping(made["mapping.toml"].encode())
    assert set(mapping.columns()) <= {column.name for column in columns}
    assert tomllib.loads(made["claimtrace.toml"]) == {"domain": "motor"}
    assert all(line.isprintable() for line in made["README.md"].splitlines())


def test_generated_modules_are_formatted_and_their_domains_stand(tmp_path: Path) -> None:
    """After the test above: all that it made, in one process each of ruff and Python."""
    modules = list(dict.fromkeys(SEEN))[-80:]
    if not modules:
        modules = [domain_text("motor", "EUR", draft_of(A_TABLE, Choices(), "claims.csv"))]
    for at, module in enumerate(modules):
        (tmp_path / f"m{at}.py").write_text(module, encoding="utf-8")
    for arguments in (
        ["format", "--check", "--diff"],
        ["check", "--select", "F,E4,E7,E9,I,UP,A,N", "--config", KNOWN],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--isolated", "--quiet", "--target-version",
             "py311", "."],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = subprocess.run(
        [sys.executable, "-c", CHECK, *(f"m{at}" for at in range(len(modules)))],
        cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


A_TABLE = [
    Column("ClaimNumber", "text", [f"C-{i}" for i in range(40)]),
    Column("Policy No.", "text", [f"P-{i % 7}" for i in range(40)]),
    Column("Reported", "text", [f"{1 + i % 28:02d}.01.2025 09:15" for i in range(40)]),
    Column("Amount", "text", [f"{i * 10}.50" for i in range(40)]),
    Column("Kind", "text", ["Theft", "theft", "Glass", "?"] * 10),
    Column("Injured", "text", [str(i % 3) for i in range(40)]),
    Column("Balance", "text", [str(i - 5) for i in range(40)]),
    Column("Ratio", "text", [f"{i / 1000:.3f}" for i in range(40)]),
    Column("Score", "text", [f"{i / 7:.9f}" for i in range(40)]),
    Column("Phone", "text", [f"030 {i:06d}" for i in range(40)]),
    Column("Born", "text", ["1990-01-05", "2000-12-31"] * 20),
    Column("Notes", "text", ["long words " * 15 + str(i) for i in range(40)]),
    Column("Nothing", "text", [None] * 40),
    Column("Fraud?", "text", ["Yes"] + ["No"] * 39),
]


def test_the_roles_of_a_usual_table() -> None:
    draft = draft_of(A_TABLE, Choices(), "claims.csv")
    assert (draft.id_column, draft.time_column) == ("ClaimNumber", "Reported")
    assert draft.times.format == "%d.%m.%Y %H:%M"
    assert {each.name: each.kind for each in draft.fields} == {
        "claim_id": "id", "policy_no": "entity", "amount_cents": "cents", "kind": "category",
        "injured": "count", "balance": "whole", "ratio_x1000": "scaled", "score": "float",
        "phone": "entity", "notes": "text",
    }  # fmt: skip
    assert draft.amount == "amount_cents"
    assert [each.word for each in draft.entities] == ["policy"]
    assert draft.label is not None
    assert draft.label.values == {"No": "legit", "Yes": "fraud"}
    assert [column for column, _ in draft.left_out] == ["Born", "Nothing"]
    values = next(each.values for each in draft.fields if each.name == "kind")
    assert values == ("Glass", "Theft"), "theft is Theft, ? is no value"
    assert next(each for each in draft.fields if each.name == "phone").personal


def test_what_the_user_says_is_done() -> None:
    said = Choices(id="ClaimNumber", entities=("Injured", "Phone"), amount="Ratio", label="Kind",
                   fraud="Theft", time="Born", time_format="%Y-%m-%d")  # fmt: skip
    with pytest.raises(UsageError, match="can't be the amount"):
        draft_of(A_TABLE, said, "claims.csv")
    draft = draft_of(A_TABLE, said._replace(amount="Injured", entities=("Phone",)), "claims.csv")
    assert draft.amount == "injured_cents"
    assert [each.field for each in draft.entities] == ["phone"]
    assert draft.time_column == "Born"
    assert draft.label is not None
    assert draft.label.values["Theft"] == "fraud"
    assert draft.label.values["Glass"] == "legit"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices(id="ClaimNo"), "there is no column ClaimNo"),
        (Choices(id="Kind"), "column Kind can't be the claim's id"),
        (Choices(time="Kind"), "can't be read as times"),
        (Choices(time="Reported", time_format="%Y"), "isn't a time of the form"),
        (Choices(label="Phone"), "too many values"),
        (Choices(label="Kind"), "no value of column Kind means fraud"),
        (Choices(label="Fraud?", fraud="perhaps"), "no value of column Fraud? means fraud"),
        (Choices(entities=("Nothing",)), "can't be an entity"),
        (Choices(entities=("Fraud?",)), "can't be an entity"),
        (Choices(time="Reported", amount="Reported"), "two roles"),
        (Choices(amount="Balance"), "can't be the amount"),
        (Choices(id=""), "there is no column"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_by_name(choices: Choices, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        draft_of(A_TABLE, choices, "claims.csv")
    assert words in refused.value.what


def test_a_table_without_times_entities_or_outcomes_still_works() -> None:
    columns = [Column("id", "text", ["a", "b"]), Column("x", "text", ["1", "2"])]
    draft = draft_of(columns, Choices(), "claims.csv")
    assert draft.time_column == ""
    assert draft.label is None
    assert [each.field for each in draft.entities] == ["claim_id"]
    assert len(draft.notes) == 2
    assert 'unit = "row"' in mapping_text("motor", "EUR", draft, TableForm())
    assert "no column holds outcomes".lower() in readme_text("motor", "x.csv", draft).lower()


def test_both_orders_of_day_and_month_are_said() -> None:
    columns = [
        Column("id", "text", ["a", "b"]),
        Column("day", "text", ["01/02/2024", "03/04/2024"]),
    ]
    draft = draft_of(columns, Choices(time="day"), "claims.csv")
    assert "%d/%m/%Y fits as well" in draft.notes[0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["007", "008"], "text"), (["7.0", "8.0"], "integer"), (["1", None, " 2 "], "integer"),
        (["1.5", "2"], "decimal"), (["1e5"], "text"), (["1,000"], "text"), (["NaN"], "text"),
        (["true", "false"], "bool"), (["2024-02-30"], "text"), (["2024-02-29"], "time"),
        (["9999-12-31"], "text"), (["", None], "empty"), (["9" * 40], "text"),
    ],
)  # fmt: skip
def test_types_of_cells(cells: list[str | None], kind: str) -> None:
    assert facts_of(Column("x", "text", cells)).type == kind


@pytest.mark.parametrize(
    "name",
    [*ROOMS, "class", "match", "Motor", "a b", "", "../x", "1a", "x" * 25, "\u00e9", "json"],
)
def test_names_that_a_domain_cannot_have(name: str) -> None:
    assert refused_name(name, {*ROOMS, "json"})


@settings(deadline=None)
@given(st.text(max_size=60))
def test_texts_become_names_literals_and_words(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text
    assert plain(text).isprintable()
    assert len(plain(text)) <= 60
    name = name_for(text, {"x"}, 3)
    assert name.isidentifier()
    assert name.isascii()
    assert name not in RESERVED
    assert name_for(text, {name}, 3) != name


def test_outcomes_that_are_not_fraud_are_named_where_there_are_several() -> None:
    ids = [f"c{n}" for n in range(40)]
    columns = [
        Column("claim", "text", list(ids)),
        Column("policy", "text", [f"p{n % 9}" for n in range(40)]),
        Column("result", "text", ["fraud", "ok", "open", "ok"] * 10),
    ]
    draft = draft_of(columns, Choices(label="result", fraud="fraud"), "claims.csv")
    assert draft.label is not None
    assert any("ok, open count as legitimate" in note for note in draft.notes)
