"""The sections of a packet as HTML: each is a function of the evidence and of who reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from claimtrace.errors import StateError
from featurestore.definitions.digest_texts import lines_of
from featurestore.definitions.domain import Domain
from training.page.markup import Markup, element, join

from ..evidence.evidence import CountedRow, Evidence, FeatureEvidence, Operand
from .findings import Finding, Findings
from .personal import Personal, Profile, masked, plain_value

MOST_ROWS: Final = 50
"""Counted rows of a feature that are printed; the others are only counted."""
_BAR: Final = 120
_SHORT: Final = 8
_OTHER: Final = "another claim"


class Part(NamedTuple):
    """The sources of all sections.

    `texts` are the definitions and rules by digest, as far as they are known.
    """

    evidence: Evidence
    findings: Findings
    domain: Domain
    personal: Personal
    profile: Profile
    texts: dict[str, bytes]


def moment(at_ms: int | None) -> str:
    """Write a time for people.

    >>> moment(0), moment(None), moment(10**18)
    ('1970-01-01 00:00:00 UTC', '-', '1000000000000000000 ms')
    """
    if at_ms is None:
        return "-"
    try:
        at = datetime.fromtimestamp(at_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def verdict(part: Part) -> Markup:
    """Say what was decided, when, and whether the evidence is whole."""
    found, profile = part.evidence, part.profile
    score = f", score {_number(found.score)}" if profile.scores and found.score is not None else ""
    same = {
        True: "Computed again from the counted rows: the same vector, by its hash.",
        False: "Computed again from the counted rows: ANOTHER vector than the sealed one.",
        None: "There is no sealed vector to compare with.",
    }[found.recomputed.same]
    lines = [
        element("p", element("b", found.outcome.upper()), f"{score}. Decided {_at(part)}."),
        element("p", same),
    ]
    if not found.complete:
        lines.append(element("p", element("b", "Not complete: "), "; ".join(found.missing)))
    tone = "good" if found.recomputed.same and found.complete else "bad"
    return element("div", *lines, class_=f"verdict {tone}")


def _at(part: Part) -> str:
    as_of = part.evidence.as_of
    if as_of.is_decision:
        return moment(part.evidence.known_time_ms)
    return f"as of {moment(as_of.known_time_ms)} (plan {as_of.plan}), not on the day itself"


def facts(part: Part) -> Markup:
    """List the claim's fields; personal ones as the profile shows them."""
    rows: list[Sequence[object]] = []
    for name, value in _fields(part.evidence.claim).items():
        # a field that the domain doesn't declare has no mark: it is taken for personal
        declared = name in part.domain.claim.__struct_fields__
        is_personal = name in part.personal.fields or not declared
        is_empty = value is None or value == ""
        said = plain_value(value)
        rows.append([name, masked(said, part.profile) if is_personal and not is_empty else said])
    return _section("Facts of the claim", _table(["field", "on the log"], rows))


def _fields(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        found = bytes(raw).decode("utf-8", "replace")
    return found if isinstance(found, dict) else {"value": found}


def reasons(part: Part) -> Markup:
    """List what speaks for fraud and what against it."""
    found = part.findings
    heaviest = max((abs(each.share) for each in (*found.raising, *found.lowering)), default=1.0)
    lists = [
        _findings(title, listed, heaviest, part.profile)
        for title, listed in (
            ("What speaks for fraud", found.raising),
            ("What speaks against it", found.lowering),
        )
    ]
    if part.profile.scores and found.base is not None:
        lists.append(
            element(
                "p",
                f"Shares are parts of the margin (log-odds). The model without any feature gives "
                f"{found.base:+.3f}; all that is as on most claims, or weighs less, "
                f"{found.usual:+.3f}; together {_number(part.evidence.margin)}.",
                class_="soft",
            )
        )
    return _section("Reasons", *lists)


def _findings(title: str, listed: list[Finding], heaviest: float, profile: Profile) -> Markup:
    if not listed:
        return join(element("h3", title), element("p", "nothing that the model counts"))
    head = ["", "rows"]
    rows: list[Sequence[object]] = [[each.text, each.rows or "-"] for each in listed]
    if profile.scores:
        head = ["", "rows", "share", ""]
        rows = [
            [*row, f"{each.share:+.3f}", _bar(each.share, heaviest)]
            for row, each in zip(rows, listed, strict=True)
        ]
    return join(element("h3", title), _table(head, rows))


def _bar(share: float, heaviest: float) -> Markup:
    width = f"{_BAR * min(1.0, abs(share) / heaviest):.1f}"
    color = "#9c2f0c" if share > 0 else "#1d6b4f"
    rect = element("rect", width=width, height="10", fill=color)
    return element("svg", rect, viewBox=f"0 0 {_BAR} 10", width=str(_BAR), height="10",
                   aria_hidden="true", class_="bar")  # fmt: skip


def rules(part: Part) -> Markup:
    """List the rules, with what they read where the profile shows it."""
    if not part.evidence.rules:
        return _section("Rules", element("p", "The domain has no rules."))
    rows: list[Sequence[object]] = []
    for each in part.evidence.rules:
        row: list[object] = ["fired" if each.fired else "-", each.text, each.outcome]
        if part.profile.scores:
            row.append(each.condition)
            read = [one for one in each.operands if not one.is_constant]
            row.append(", ".join(_operand(one, part) for one in read))
        elif not each.fired:
            continue  # what didn't fire tells how to stay below it
        rows.append(row)
    head = ["", "rule", "asks for", *(["condition", "read"] if part.profile.scores else [])]
    return _section("Rules", _table(head, rows) if rows else element("p", "No rule fired."))


def _operand(operand: Operand, part: Part) -> str:
    if part.personal.is_personal(operand.name):
        return f"{operand.name} = {masked(_number(operand.value), part.profile)}"
    return f"{operand.name} = {_number(operand.value)}"


def counted(part: Part) -> Markup:
    """List the rows behind each finding, feature by feature, and then all features."""
    names = [name for each in _listed(part.findings) for name in each.features]
    by_name = {each.name: each for each in part.evidence.features}
    tables = [
        _rows_of(by_name[name], part)
        for name in dict.fromkeys(names)
        if name in by_name and by_name[name].rows
    ]
    if not tables:
        tables = [element("p", "No finding stands on records of the log.")]
    if part.profile.scores:
        tables.append(_all_features(part))
    return _section("Counted rows", *tables)


def _listed(findings: Findings) -> list[Finding]:
    return [*findings.raising, *findings.lowering]


def _rows_of(feature: FeatureEvidence, part: Part) -> Markup:
    value = _value(feature, part)
    title = f"{feature.text or feature.name}: {value}"
    about = [f"{feature.kind}, {feature.how}"]
    if feature.entity_key:
        key = feature.entity_key
        shown = masked(key, part.profile) if feature.entity in part.personal.entities else key
        about.append(f"{feature.entity} {shown}")
    if feature.from_ms is not None:
        about.append(f"after {moment(feature.from_ms)}, up to {moment(feature.to_ms)}")
    if feature.agrees is not None:
        about.append(
            "the rows give this value" if feature.agrees else "THE ROWS GIVE ANOTHER VALUE"
        )
    rows = [_row(each, feature, part) for each in feature.rows[:MOST_ROWS]]
    head = ["happened", "claim", "amount", "outcome as known then", "counted"]
    left = len(feature.rows) - len(rows)
    more = element("p", f"and {left:,} more rows", class_="soft") if left > 0 else ""
    return join(
        element("h3", title),
        element("p", "; ".join(about), class_="soft"),
        _table(head, rows),
        more,
    )


def _row(row: CountedRow, feature: FeatureEvidence, part: Part) -> Sequence[object]:
    at = moment(row.event_time_ms)
    if row.is_current:
        claim = f"{row.claim_id} (this claim)"
    elif part.profile.others:
        claim = row.claim_id
    else:
        return [at, _OTHER, "-", "-", "-"]
    amount = "-" if row.amount_cents is None else f"{row.amount_cents / 100:,.2f}"
    shown = feature.name in part.personal.texts or feature.name in part.personal.features
    value = row.text or ("-" if row.value is None else _number(row.value))
    said = masked(value, part.profile) if shown and value != "-" else value
    return [at, claim, amount, row.outcome or "-", said]


def _value(feature: FeatureEvidence, part: Part) -> str:
    said = _number(feature.value)
    return masked(said, part.profile) if feature.name in part.personal.features else said


def _all_features(part: Part) -> Markup:
    rows = [
        [
            each.name,
            _value(each, part),
            "-" if each.contribution is None else f"{each.contribution:+.3f}",
            len(each.rows) or "-",
        ]
        for each in part.evidence.features
    ]
    table = _table(["feature", "value", "share", "rows"], rows)
    return join(element("h3", "The whole vector"), table)


def model(part: Part) -> Markup:
    """Say which model decided, by which thresholds, and who approved it."""
    found = part.evidence.model
    if found is None:
        return _section("Model", element("p", "No model was in charge: the rules decided alone."))
    rows: list[Sequence[object]] = [["model", found.ref.label], ["digest", found.ref.digest]]
    if part.profile.scores:
        rows.append(["review from", _number(found.review)])
        rows.append(["refer from", _number(found.refer)])
    for name, act in (("approved", found.approved), ("in charge since", found.live)):
        if act is not None:
            who = f" by {act.actor} ({act.user}): {act.reason}" if part.profile.people else ""
            rows.append([name, f"{moment(act.at_ms)}{who}"])
        else:
            rows.append([name, "no act in the log of approvals"])
    return _section("Model and approval", _table(["", ""], rows))


def definitions(part: Part) -> Markup:
    """Print the rules in words, from their kept text; the definitions by their digest."""
    found = part.evidence
    text = part.texts.get(found.rules_digest)
    if text is None or not part.profile.scores:
        return Markup("")
    try:
        lines = lines_of(text)
    except StateError:
        return Markup("")
    items = [element("li", each) for each in lines]
    return _section("Rules in force, from their digest", element("ul", *items))


def hashes(part: Part) -> Markup:
    """List digests and the proof of the chain."""
    found, chain = part.evidence, part.evidence.chain
    rows: list[Sequence[object]] = [
        ["decision", found.decision_id or "not on the log"],
        ["claim's record", f"{found.topic}, partition {found.partition}, position "
                           f"{found.position}"],
        ["feature hash", found.recomputed.feature_hash],
        ["sealed feature hash", found.recomputed.sealed_hash or "-"],
        ["definitions", found.definitions],
        ["rules", found.rules_digest],
        ["state of knowledge", f"plan {found.as_of.plan}, {moment(found.as_of.known_time_ms)}"],
        ["replayed", f"{found.recomputed.records:,} of {found.recomputed.of_records:,} records"],
    ]  # fmt: skip
    if found.recomputed.differing:
        rows.append(["differs in", ", ".join(found.recomputed.differing)])
    if chain is not None:
        after = {True: "holds", False: "IS BROKEN", None: "is the newest"}[chain.next_holds]
        rows += [
            ["chain", chain.chain],
            ["chain before", chain.before],
            ["link", "holds" if chain.holds else "IS BROKEN"],
            ["next link", after],
        ]
    return _section("Versions and hashes", _table(["", ""], rows))


def _section(title: str, *children: str) -> Markup:
    return element("section", element("h2", title), *children)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    cells = [element("th", each, scope="col") for each in head]
    top = element("thead", element("tr", *cells)) if any(head) else Markup("")
    body = [element("tr", *(_cell(each) for each in row)) for row in rows]
    return element("div", element("table", top, element("tbody", *body)), class_="wide")


def _cell(value: object) -> Markup:
    said = value if isinstance(value, Markup) else str(value)
    # a short one isn't broken, a digest may be broken anywhere
    kind = "num" if len(said) <= _SHORT else "long" if " " not in said else ""
    return element("td", said, class_=kind) if kind else element("td", said)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6g}"
