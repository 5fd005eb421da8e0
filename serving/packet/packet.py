"""A packet: the evidence for one decision as a single page for a file, on paper or on a screen.

The page loads nothing and runs nothing, and everything that came from outside is escaped. It is a
pure function of the evidence, the definitions and the profile, so that its digest can be noted
beside it and compared later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from claimtrace.ids import digest
from featurestore.definitions.domain import Domain
from training.page.markup import Markup, element, join
from training.page.style import CONTENT_POLICY, STYLE

from ..evidence.evidence import Evidence
from . import sections
from .findings import findings_of
from .personal import Personal, Profile
from .sections import Part
from .timeline import timeline

_TURNS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of the text after them, which can make it read otherwise."""

_MORE_STYLE: Final = """
.timeline { list-style: none; padding: 0; font-size: .87rem; }
.timeline b { font-weight: 600; font-variant-numeric: tabular-nums; margin-right: .6rem; }
svg.bar { display: inline-block; width: 7.5rem; height: .6rem; }
td { overflow-wrap: break-word; }
td.num { text-align: left; }
@media print { tr, li, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


class Packet(NamedTuple):
    """A page in UTF-8, and the SHA-256 of its bytes."""

    page: bytes
    digest: str


def packet_of(
    evidence: Evidence,
    domain: Domain,
    baselines: Mapping[str, Sequence[float]],
    profile: Profile,
    texts: Mapping[str, bytes] | None = None,
) -> Packet:
    """Write the packet of a decision.

    Args:
        evidence: of the decision.
        domain: of the decision's definitions; its marks say which fields are personal.
        baselines: of the model that decided; empty without a model.
        profile: who it is for.
        texts: kept texts of definitions and rules by digest, as far as there are any.
    """
    part = Part(
        evidence,
        findings_of(evidence, domain, baselines),
        domain,
        Personal(domain),
        profile,
        dict(texts or {}),
    )
    title = f"Claim {evidence.claim_id}: evidence for a decision"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE + _MORE_STYLE)),
    )
    body = element("body", element("main", *_body(part, title)))
    page = join(Markup("<!doctype html>\n"), element("html", head, body, lang="en"), Markup("\n"))
    written = _TURNS.sub("\ufffd", page).encode()
    return Packet(written, digest(written))


def _body(part: Part, title: str) -> list[Markup]:
    about = f"{part.domain.name}; profile {part.profile.name}: {part.profile.about}"
    return [
        element("h1", title),
        element("p", about, class_="facts"),
        sections.verdict(part),
        sections.reasons(part),
        sections.rules(part),
        sections.facts(part),
        sections.counted(part),
        timeline(part),
        sections.model(part),
        sections.definitions(part),
        sections.hashes(part),
        element("footer", "The SHA-256 of this file is printed by the command that wrote it."),
    ]
