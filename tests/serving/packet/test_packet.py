"""Packets: nothing runs or loads, personal values are masked, and the digest is of the bytes."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from claimtrace.errors import UsageError
from claimtrace_examples.auto_claims import DOMAIN
from serving.evidence.evidence import Evidence
from serving.packet.packet import packet_of
from serving.packet.personal import PROFILES, profile_of
from tests.serving.packet.cases import CLAIM, GRID, SECRETS, evidence, row

BANK = "bank_account.policies.distinct.90d"
PHONE = "phone.claims.count.30d"
NAMES = DOMAIN.feature_names
GRIDS = dict.fromkeys(NAMES, GRID)
TEXTS = {DOMAIN.rules_digest: DOMAIN.rules_text}
ATTACKS = (
    "<script>window.EVIL=1</script>",
    '"><img src=x onerror=window.EVIL=1>',
    "'><svg/onload=window.EVIL=1>",
    "</title></style><script src=//evil.example/x.js></script>",
    "javascript:window.EVIL=1",
    "<a href=javascript:window.EVIL=1>x</a>",
    "<iframe srcdoc='<script>parent.EVIL=1</script>'></iframe>",
    "<style>@import '//evil.example'</style><meta http-equiv=refresh content='0;//evil.example'>",
    "{{7*7}} ${7*7} <!-- --!> ]]> &lt;script&gt;",
    "\u202egnp.exe \x00\x1b[31m\x08 \ud7ff \u2066x\u2069",
)


def sample(**more: Any) -> Evidence:
    phones = [name for name in NAMES if name.startswith("phone.claims.count")]
    rows = {
        BANK: [row(4, text="p-9"), row(3, outcome="fraud", outcome_known_ms=1_764_500_000_000)],
        phones[0]: [row(0, claim_id="c-77", is_current=True), row(2)],
    }
    return evidence({BANK: 99.0, phones[0]: 97.0}, {BANK: 1.5, phones[0]: 0.5}, rows, **more)


def page_of(found: Evidence, profile: str) -> str:
    return packet_of(found, DOMAIN, GRIDS, PROFILES[profile], TEXTS).page.decode()


class Seen(HTMLParser):
    """The elements and attributes that a parser finds."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}


def seen_in(page: str) -> Seen:
    seen = Seen()
    seen.feed(page)
    return seen


def spoilt(value: Any, attack: str) -> Any:
    """Put an attack into every text of plain values, into the keys of the claim too."""
    if isinstance(value, str):
        return attack
    if isinstance(value, list):
        return [spoilt(each, attack) for each in value]
    if isinstance(value, dict):
        return {key: spoilt(each, attack) for key, each in value.items()}
    return value


# the profile `full` shows every field; the others mask some of the same
@pytest.mark.parametrize(
    ("attack", "profile"),
    [*((each, "full") for each in ATTACKS), *((ATTACKS[1], each) for each in ("siu", "customer"))],
)
def test_texts_from_outside_are_inert_in_every_field(attack: str, profile: str) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(sample()))
    claim = {attack: attack, **dict.fromkeys(CLAIM, attack)}
    evil = spoilt(plain, attack) | {"claim": claim}
    found = msgspec.json.decode(msgspec.json.encode(evil), type=Evidence)
    # the names of features are the domain's own: findings need them
    names = [each["name"] for each in plain["features"]]
    found = msgspec.structs.replace(
        found,
        features=[
            msgspec.structs.replace(each, name=name)
            for each, name in zip(found.features, names, strict=True)
        ],
    )
    whole, clean = page_of(found, profile), page_of(sample(), profile)
    seen, usual = seen_in(whole), seen_in(clean)
    assert seen.tags <= usual.tags
    assert seen.attributes <= usual.attributes
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", whole)
    assert "window.EVIL" not in re.sub(r"&[a-z#0-9]+;|[^<]*", "", whole)


def test_the_page_runs_and_loads_nothing() -> None:
    seen = seen_in(page := page_of(sample(), "full"))
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    assert not {name for _, name in seen.attributes} & {"src", "href", "style", "srcset"}
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page


def test_personal_values_are_masked_by_profile() -> None:
    pages = {name: page_of(sample(), name) for name in PROFILES}
    for secret in SECRETS:
        assert secret in pages["full"]
        assert secret not in pages["siu"]
        assert secret not in pages["customer"]
    assert "\u2022\u2022\u2022678" in pages["siu"]  # the account's end
    assert "(personal)" in pages["siu"]  # a name has no end that could be shown
    assert "678" not in re.sub("[0-9a-f]{64}", "", pages["customer"])
    assert "p-5" in pages["customer"]  # a policy's number isn't marked


def test_a_claimant_sees_neither_others_nor_thresholds_nor_people() -> None:
    told, whole = page_of(sample(), "customer"), page_of(sample(), "siu")
    for text in ("other-4", "other-3", "p-9", "rita", "0.83", "secret &gt;= 4", "90,003", "+1.500"):
        shown = text.replace("90,003", "900.03")
        assert shown not in told, shown
        assert shown in whole, shown
    assert "another claim" in told
    assert "different policies paid to this bank account" in told


def test_the_packet_holds_all_that_stands_behind_the_decision() -> None:
    page = page_of(sample(complete=False, missing=["12 records are gone"]), "siu")
    for text in ("REFER", "What speaks for fraud", "What speaks against it", "Counted rows",
                 "six or more policies name this phone", "Timeline", "auto_claims/3", "rita",
                 "Versions and hashes", "cc" * 32, "f" * 32, "275 of 60,000", "the same vector",
                 "12 records are gone", "outcome of claim other-3: fraud",
                 "rule shared_bank_account"):  # fmt: skip
        assert text in page, text


def test_the_digest_is_of_the_bytes_and_the_same_again() -> None:
    packets = [packet_of(sample(), DOMAIN, GRIDS, PROFILES["siu"], TEXTS) for _ in range(2)]
    assert packets[0] == packets[1]
    assert packets[0].digest == hashlib.sha256(packets[0].page).hexdigest()
    other = packet_of(sample(), DOMAIN, GRIDS, PROFILES["full"], TEXTS)
    assert other.digest != packets[0].digest


@pytest.mark.parametrize("claim", [b"[1]", b'"text"', b"{broken", b"", b"\xff", b"[" * 9999])
def test_a_claim_of_any_bytes_can_be_printed(claim: bytes) -> None:
    page = page_of(sample(claim=msgspec.Raw(claim), model=None, chain=None, score=None), "siu")
    assert "Facts of the claim" in page
    assert "the rules decided alone" in page


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        profile_of("boss")
    assert caught.value.hint == "one of siu, customer, full"
