"""Each fault of delivery, process and brokers (A) and of Kinesis (B) names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "failure-modes.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NUMBERS = [*(f"A{n}" for n in range(1, 26)), *(f"B{n}" for n in range(1, 19))]


def rows() -> dict[str, str]:
    """Return the last column of the tables, by the number of the fault."""
    found = re.findall(r"^\| ([AB]\d+) \|.*\| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found)), "a number stands twice"
    return dict(found)


def test_all_of_them_stand_in_the_tables() -> None:
    assert list(rows()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_each_has_tests_that_exist(number: str) -> None:
    named = TEST.findall(rows()[number])
    assert named, f"{number} names no test"
    for path, name in named:
        text = (ROOT / path).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{path} has no {name}"
