"""docs/replay.md names every key of a mapping, and its example is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claimtrace_examples.auto_claims import DOMAIN
from producers.adapters.files import read_mapping
from producers.replay.mapping import (
    DelayColumn,
    FieldColumn,
    LabelColumn,
    ReplayMapping,
    TimeColumn,
    load_mapping,
)
from producers.replay.mapping_check import KnownEvents, checked
from producers.replay.replay import Replay
from producers.replay.rows import RowBatch

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "replay.md").read_text()
KNOWN = KnownEvents(DOMAIN.events, DOMAIN.currency, ("fraud", "legit"), "outcome",
                    "claims.adjudicated")  # fmt: skip


@pytest.mark.parametrize(
    "struct", [ReplayMapping, FieldColumn, TimeColumn, LabelColumn, DelayColumn]
)
def test_every_key_stands_in_the_page(struct: type) -> None:
    for key in struct.__struct_fields__:  # type: ignore[attr-defined]
        assert f"`{key}`" in PAGE or f"[{key}]" in PAGE, key


def test_the_example_is_a_mapping_of_the_domain() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    mapping = load_mapping(example.encode())
    cells = {
        "claim no": "17", "policy no": "P-1", "filed on": "03.03.2025 09:15", "garage": "99999",
        "date of loss": "01.03.2025", "injured": "2", "claimed": "1.234,50", "result": "F",
        "days open": "12",
    }  # fmt: skip
    replay = Replay(mapping, KNOWN, 4, lambda: 1_790_000_000_000)
    batch = RowBatch(1, {name: [cell] for name, cell in cells.items()})
    event, label = replay.records([batch])
    assert event.value == (
        b'{"currency":"USD","filed_at":"2025-03-03T14:15:00.000Z","claim_id":"usa-17",'
        b'"policy_id":"P-1","incident_at":"2025-03-01T05:00:00.000Z","num_injuries":2,'
        b'"total_claim_cents":123450,"schema_version":1}'
    )
    assert b'"decided_at":"2025-03-15T14:15:00.000Z"' in (label.value or b"")


def test_the_mapping_in_the_wheel_fits_the_domain() -> None:
    checked(read_mapping(ROOT / "claimtrace_examples" / "replay_claims.toml"), KNOWN)
