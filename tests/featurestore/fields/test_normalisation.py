"""All spellings of an id become one; a batch is normalised to the same keys as single ids."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.fields.normalisation import (
    PLACEHOLDERS,
    is_placeholder,
    normal_category,
    normal_key,
    normal_keys,
)

FORMS = ("id", "code", "phone")
WRITTEN = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12),
    st.text("aZ09 -.+()", max_size=8),
    st.sampled_from(
        [
            "UNKNOWN",
            "N/A",
            "000",
            "111111",
            "shop-7",
            "shop seven",
            " ",
            "\u200b",
            "\uff15\uff15\uff15",
        ]
    ),
)


@given(texts=st.lists(st.one_of(st.none(), WRITTEN), max_size=8), form=st.sampled_from(FORMS),
       deny=st.sampled_from([frozenset(), frozenset({"shop-7", "SHOP7", "555"})]))  # fmt: skip
@example(texts=["a", " ", "b"], form="id", deny=frozenset())
@example(texts=["a b", "c"], form="code", deny=frozenset())
@example(texts=["", ""], form="phone", deny=frozenset())
@settings(deadline=None)
def test_a_batch_is_the_same_as_one_by_one(texts, form, deny):
    keys, placeholders = normal_keys(texts, form, deny)
    plain = [normal_key(text, form) if text else "" for text in texts]
    empty = [bool(key) and is_placeholder(key, deny) for key in plain]
    assert placeholders == [i for i, is_empty in enumerate(empty) if is_empty]
    assert keys == ["" if out else key for key, out in zip(plain, empty, strict=True)]


@given(WRITTEN, st.sampled_from(FORMS))
@example("e\u200d\u0301", "id")
@example("\u0390", "id")
@example("\u0345", "id")
@example("\u1e9e", "code")
@example("e\u00a0\u0301", "code")
@settings(deadline=None)
def test_a_normal_key_is_its_own_normal_key(text, form):
    key = normal_key(text, form)
    assert normal_key(key, form) == key


@given(WRITTEN, st.sampled_from(FORMS))
@settings(deadline=None)
def test_a_normal_key_holds_nothing_that_hides(text, form):
    key = normal_key(text, form)
    assert not any(unicodedata.category(c)[0] == "C" for c in key), "NUL would end it in the index"
    assert key == key.strip() or form != "id"


@given(st.text(max_size=12).filter(lambda t: "\0" not in t and t.isprintable()))
@example("\u0390")
@example("Straße ﬁ ῼ")
@settings(deadline=None)
def test_composed_decomposed_wide_and_cased_are_one(text):
    key = normal_key(text, "id")
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normal_key(unicodedata.normalize(form, text), "id") == key
    if (
        len(text.casefold()) == len(text) == len(text.upper())
        and text.upper().casefold() == text.casefold()
    ):
        assert normal_key(text.upper(), "id") == key


@pytest.mark.parametrize("word", sorted(PLACEHOLDERS))
def test_placeholders_link_nothing_however_they_are_written(word):
    for text in (word, word.upper(), f" {word} ", f"{word}\u200b"):
        assert normal_keys([text], "id", frozenset()) == ([""], [0])


@pytest.mark.parametrize("key", ["00", "01", "5550101", "0001000", "a", "nano", "unknown street"])
def test_real_keys_are_no_placeholders(key):
    assert not is_placeholder(key, frozenset())


@given(st.text(max_size=10))
@settings(deadline=None)
def test_a_category_is_its_own_category(text):
    written = normal_category(text)
    assert normal_category(written.strip()) == written.strip()
