"""A filter as SQL finds the decisions that it finds as a test of one row, whatever they hold."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimtrace.errors import UsageError
from featurestore.offline.tables import DECISIONS, SCHEMAS
from serving.reading.decision_filter import DecisionFilter, check_model
from serving.reading.decision_row import DecisionRow, stored_row

WORDS = st.sampled_from(["a", "b", "o'hara", "'; drop table x --", "a\\", "é", "none"])
NAMES = st.lists(WORDS, max_size=3, unique=True).map(tuple)
SCORES = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.5, 0.5000000000000001, 1.0]))
TIMES = st.integers(0, 4)


@st.composite
def rows(draw: st.DrawFn) -> list[DecisionRow]:
    count = draw(st.integers(0, 8))
    found = []
    for number in range(count):
        model = draw(st.one_of(st.none(), WORDS))
        found.append(
            DecisionRow(
                decision_id=f"d-{number}", claim_id=draw(WORDS),
                policy_key=draw(st.one_of(st.none(), WORDS)),
                outcome=draw(st.sampled_from(["approve", "review", "refer"])), score=draw(SCORES),
                band="low", threshold=None, model=model,
                model_version=None if model is None else draw(st.integers(1, 3)),
                arm=draw(st.sampled_from([None, "champion", "canary"])), rules=draw(NAMES),
                flags=draw(NAMES), event_time_ms=1, log_time_ms=draw(TIMES), topic="t",
                partition=number % 2, position=number,
            )
        )  # fmt: skip
    return found


FILTERS = st.builds(
    DecisionFilter,
    outcomes=st.lists(st.sampled_from(["approve", "refer"]), max_size=2).map(tuple),
    from_ms=st.one_of(st.none(), TIMES), to_ms=st.one_of(st.none(), TIMES), least=SCORES,
    most=SCORES, claim=st.one_of(st.just(""), WORDS), policy=st.one_of(st.just(""), WORDS),
    model=st.sampled_from(["", "none", "1", "a", "a/2", "o'hara/3"]), flags=NAMES, rules=NAMES,
    arm=st.sampled_from(["", "none", "champion", "canary"]),
)  # fmt: skip


def table_of(found: list[DecisionRow]) -> pa.Table:
    schema = SCHEMAS[DECISIONS]
    filled = dict.fromkeys(schema.names)
    for field in schema:
        if not field.nullable:
            filled[field.name] = [] if pa.types.is_list(field.type) else 0
            if pa.types.is_string(field.type):
                filled[field.name] = ""
    cells = []
    for row in found:
        values = {name: getattr(row, name) for name in row.__struct_fields__}
        values["model_name"] = values.pop("model")
        cells.append(filled | values)
    return pa.Table.from_pylist(cells, schema)


@settings(max_examples=60, deadline=None)
@given(rows(), FILTERS, st.integers(1, 5))
def test_sql_finds_what_the_test_of_a_row_finds(
    found: list[DecisionRow], asked: DecisionFilter, most: int
) -> None:
    with duckdb.connect(":memory:") as session:
        session.register("decisions", table_of(found))
        answer = session.sql(asked.newest(most)).to_arrow_table().to_pylist()
    expected = sorted(filter(asked.matches, found), key=lambda row: row.order, reverse=True)
    assert [stored_row(each) for each in answer] == expected[:most]


def test_a_table_from_before_roll_outs_has_no_arms() -> None:
    old = table_of([]).drop_columns(["arm"])
    with duckdb.connect(":memory:") as session:
        session.register("decisions", old)
        asked = DecisionFilter(arm="canary").newest(3, has_arms=False)
        assert session.execute(asked).fetchall() == []


@pytest.mark.parametrize("words", ["/3", "a/", "a/b", "a/1/2"])
def test_what_names_no_model_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="names no model"):
        check_model(words)
