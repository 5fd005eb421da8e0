"""Ids since edition 2: dashes and white space are one, missing values link nothing."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claimtrace.editions import EDITIONS, NEWEST, OLDEST
from claimtrace.encoding.missing_values import (
    DASHES,
    MISSING_IDS,
    MISSING_WORDS,
    SPACES,
    is_missing_id,
)
from featurestore.fields.id_rules import IdRules, id_rules
from featurestore.fields.normalisation import is_placeholder, normal_key

FORMS = ("id", "code", "phone")
NONE = frozenset[str]()
FAULTS = Path(__file__).parents[2] / "worlds" / "faults"
CHARACTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
SPELT = st.sampled_from(sorted(MISSING_IDS))
WRITTEN = st.one_of(
    st.text(CHARACTERS, max_size=10),
    st.text(st.sampled_from(f"aZ09xX.#/()\u00a8\u0301\uff15{DASHES}{SPACES}"), max_size=8),
    st.text("aZ09xX -.+()#", max_size=8),
    SPELT,
    st.builds(lambda text, up: text.upper() if up else text.title(), SPELT, st.booleans()),
    st.builds("{}{}{}".format, st.text(SPACES + " ", max_size=2), SPELT, st.text(" ", max_size=2)),
)
DENY = st.sampled_from([NONE, frozenset({"Shop 7", "DE-00 77", "none of ours"})])


@given(st.lists(st.one_of(st.none(), WRITTEN), max_size=8), st.sampled_from(FORMS), DENY)
@example([" a", "b  c", "", None], "id", NONE)
@example(["-1", "1", "DE0077"], "code", frozenset({"DE-00 77"}))
@settings(deadline=None, max_examples=300)
def test_a_batch_is_the_same_as_one_by_one(texts, form, deny):
    rules = id_rules(form, deny, NEWEST)
    keys, placeholders = rules.keys(texts)
    plain = [rules.key(text) if text else "" for text in texts]
    empty = [
        bool(key) and rules.is_placeholder(text, key)
        for text, key in zip(texts, plain, strict=True)
    ]
    assert placeholders == [i for i, is_empty in enumerate(empty) if is_empty]
    assert keys == ["" if out else key for key, out in zip(plain, empty, strict=True)]


@given(WRITTEN, st.sampled_from(FORMS))
@example("e\u200d\u0301", "id")
@example("a \u00a8", "id")
@example("e\u2212\u0301", "code")
@settings(deadline=None, max_examples=300)
def test_a_key_is_its_own_key_and_holds_nothing_that_hides(text, form):
    rules = id_rules(form, NONE, NEWEST)
    key = rules.key(text)
    assert rules.key(key) == key
    assert not any(unicodedata.category(c)[0] == "C" for c in key)
    assert not set(key) & set(DASHES + SPACES)
    assert "  " not in key
    assert key == key.strip()


@given(st.text("ab7-", max_size=6), st.data())
def test_whatever_dashes_and_white_space_are_written_the_key_is_one(text, data):
    dashed = "".join(data.draw(st.sampled_from(DASHES + "-")) if c == "-" else c for c in text)
    runs = st.text(SPACES + " ", min_size=1, max_size=3)
    spaced = data.draw(runs).join(["", *dashed, ""])
    assert id_rules("id", NONE, NEWEST).key(spaced) == " ".join(text)
    for form in ("code", "phone"):
        rules = id_rules(form, NONE, NEWEST)
        assert rules.key(spaced) == rules.key(text)


@pytest.mark.parametrize("form", FORMS)
def test_every_spelling_of_missing_links_nothing(form):
    rules = id_rules(form, NONE, NEWEST)
    for text in sorted(MISSING_IDS):
        for written in (text, text.upper(), f" {text}\u00a0", text.replace("-", "\u2014")):
            assert rules.keys([written])[0] == [""], written
            assert is_missing_id(written), written
    assert len(MISSING_IDS) > 150


@given(st.text(CHARACTERS, max_size=12))
@settings(deadline=None)
def test_the_list_says_of_a_text_what_it_says_of_its_key(text):
    """A table's reader asks of texts, features of keys: of those that are visible, the same."""
    rules = id_rules("id", NONE, NEWEST)
    if all(unicodedata.category(c)[0] != "C" for c in text) and (key := rules.key(text)):
        assert rules.is_placeholder(text, key) == is_missing_id(key)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "text",
    ["1", "99", "7", "shop-7", "A", "Z9", "NO", "ND", "1-1-1", "x7", "0171 5550101", "100",
     "none-7", "nan-1", "Nana", "Unknown Street 5", "DE0", "N A T O"],
)  # fmt: skip
def test_real_ids_stay_what_they_are(form, text):
    rules = id_rules(form, NONE, NEWEST)
    key = rules.key(text)
    if key and not (form == "phone" and set(key) == {"0"}):
        expected = (form == "code" and text == "1-1-1") or (form == "phone" and text == "1-1-1")
        assert rules.is_placeholder(text, key) == expected, "111 is one repeated digit"


@given(st.text(CHARACTERS, max_size=10), st.sampled_from(FORMS), DENY)
@settings(deadline=None)
def test_edition_1_is_as_it_was(text, form, deny):
    rules = IdRules(form, deny, OLDEST)
    key = rules.key(text)
    assert key == normal_key(text, form)
    if key:
        assert rules.is_placeholder(text, key) == is_placeholder(key, deny)


def test_whatever_edition_1_denied_is_denied_since():
    for edition in EDITIONS:
        rules = id_rules("id", frozenset({"house account"}), edition.number)
        assert rules.keys(["House Account", "UNKNOWN", "1111"])[0] == ["", "", ""]


def test_denied_values_are_compared_as_keys():
    rules = id_rules("code", frozenset({"de-00 77"}), NEWEST)
    assert rules.keys(["DE 0077", "DE 0078"]) == (["", "DE0078"], [0])


def test_words_keep_their_meaning_without_punctuation():
    codes = {id_rules("code", NONE, NEWEST).key(text) for text in MISSING_WORDS}
    assert not {"A", "Z", "1", "9", "99", "INF", "ND", "NO"} & codes


def test_the_spellings_of_the_table_of_faults_link_nothing():
    with (FAULTS / "csv-missing-value-spellings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 150
    for form in ("id", "code"):
        found, _ = id_rules(form, NONE, NEWEST).keys([row["bank_account"] for row in rows])
        assert set(found) == {""}
