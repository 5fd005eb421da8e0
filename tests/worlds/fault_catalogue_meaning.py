"""Group C of the fault catalogue, part two: ids, times and repetitions; the meaning of values."""

from __future__ import annotations

from collections.abc import Iterator

from tests.worlds.fault_catalogue import (
    CHANGE,
    CHANGES,
    DUPLICATE,
    LABEL,
    LABELS,
    Case,
    Dead,
    Decided,
    Put,
    json_object,
    one,
    same_entity,
)


def cases_of_meaning() -> list[Case]:
    """Return the cases of C12 to C14, C16 to C23, C25 to C27."""
    return [*_ids(), *_times(), *_identity(), *_rest()]


def _ids() -> Iterator[Case]:
    bad = Dead("bad_id", "claim_id")
    yield one("C12", "no id", b"{}", bad)
    for text in (
        "",
        "a" * 129,
        "a" * 10240,
        "a/../b",
        "a..b",
        "a\\nb",
        "a\\n",
        "-a",
        "a b",
        "\u00e9",
        "x'; DROP TABLE batches;--",
        "{p}:*",
    ):
        fault = "C26" if "DROP" in text or "{" in text else "C12"
        yield one(
            fault,
            f"id {text!r}" if len(text) < 60 else f"id of {len(text)}",
            f'{{"claim_id":"{text}"}}'.encode(),
            bad,
        )
    yield one("C12", "id null", b'{"claim_id":null}', bad)
    yield one(
        "C12",
        "id of 128",
        b'{"claim_id":"' + b"a" * 128 + b'"}',
        Decided(("no_time", "incomplete")),
    )
    yield Case(
        "C12",
        "no id elsewhere",
        (
            Put(b"{}", Dead("bad_id", "change_id"), CHANGES),
            Put(b"{}", Dead("bad_id", "adjudication_id"), LABELS),
        ),
    )
    yield one(
        "C13",
        "nothing but the id",
        b'{"claim_id":"@"}',
        Decided(
            ("no_time", "incomplete"),
            (("policy.claims.count.30d", None), ("total_claim_amount", None)),
        ),
    )
    yield one(
        "C13",
        "everything else null",
        b'{"claim_id":"@","policy_id":null,"phone":null,"filed_at":null}',
        Decided(("no_time", "incomplete")),
    )
    yield one("C13", "no amount", json_object('"num_injuries":1'), Decided((), (
        ("num_injuries", 1.0), ("claim.injury_share", None))))  # fmt: skip
    for field, value in (("vin", "[1]"), ("vin", "{}"), ("vin", "true"),
                         ("total_claim_cents", "{}"),
                         ("total_claim_cents", "[]"), ("filed_at", "5"), ("filed_at", "[]"),
                         ("incident_type", "3"), ("schema_version", '"1"'),
                         ("currency", "null")):  # fmt: skip
        value_bytes = f'{{"claim_id":"@","{field}":{value}}}'.encode()
        yield one("C14", f"{field} {value}", value_bytes, Dead("bad_type", field))
    patterns = (
        "x'; DROP TABLE batches;--",
        "{p}:*",
        "repair_shop:*",
        "') RETURN redis.call('FLUSHALL') --",
        "../../etc",
        "%s%n",
    )
    for text in patterns:
        yield same_entity(
            "C26", "repair_shop_id", "repair_shop.claims.count.7d", text, text.upper()
        )


def _times() -> Iterator[Case]:
    def at(text: str) -> bytes:
        return f'{{"claim_id":"@","policy_id":"p@","filed_at":{text}}}'.encode()

    yield one(
        "C16",
        "no time",
        b'{"claim_id":"@","policy_id":"p@"}',
        Decided(("no_time",), event_time="<T>"),
    )
    for text in ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
                 "0001-01-01T00:00:00+14:00", "1989-12-31T23:59:59Z"):  # fmt: skip
        yield one("C16", text, at(f'"{text}"'), Dead("time_out_of_range", "filed_at"))
    for text in (
        "yesterday",
        "2026-01-01",
        "2026-02-30T00:00:00Z",
        "1767225600",
        "",
        "2026-01-01T25:00:00Z",
    ):
        yield one("C16", repr(text), at(f'"{text}"'), Dead("bad_time", "filed_at"))
    yield one("C16", "no zone", at('"<T-naive>"'), Decided(("no_zone",), event_time="<T>"))
    yield one(
        "C16",
        "leap second",
        at('"2025-12-31T23:59:60Z"'),
        Decided((), event_time="2025-12-31T23:59:59Z"),
    )
    for zone, utc in (("+02:00", "00:30"), ("+01:00", "01:30")):
        yield one("C16", f"a night's second 02:30 {zone}", at(f'"2025-10-26T02:30:00{zone}"'),
                   Decided(("late",), event_time=f"2025-10-26T{utc}:00Z"))  # fmt: skip
    claims = "policy.claims.count.365d"
    late, after = '"policy_id":"late@"', '"policy_id":"late@"'
    yield Case(
        "C17",
        "400 days late",
        (
            Put(
                f'{{"claim_id":"@","filed_at":"<T-34560000s>",{late}}}'.encode(),
                Decided(("late",), ((claims, None),)),
            ),
            Put(
                f'{{"claim_id":"b@","filed_at":"<T>",{after}}}'.encode(),
                Decided((), ((claims, 0.0),)),
            ),
        ),
    )
    yield Case(
        "C17",
        "29 days late",
        (
            Put(
                f'{{"claim_id":"@","filed_at":"<T-2505600s>",{late}}}'.encode(),
                Decided((), ((claims, 0.0),)),
            ),
            Put(
                f'{{"claim_id":"b@","filed_at":"<T>",{after}}}'.encode(),
                Decided((), ((claims, 1.0),)),
            ),
        ),
    )
    yield one(
        "C18", "10 minutes ahead", at('"<T+600s>"'), Decided(("future_clamped",), event_time="<T>")
    )
    yield one("C18", "4 minutes ahead", at('"<T+240s>"'), Decided((), event_time="<T+240s>"),
               why="clocks differ: up to five minutes are taken as they are")  # fmt: skip
    yield one("C18", "2 days ahead", at('"<T+172800s>"'), Dead("time_out_of_range", "filed_at"))


def _identity() -> Iterator[Case]:
    claim = b'{"claim_id":"@","filed_at":"2026-01-02T00:00:00Z","policy_id":"twin@"}'
    other = claim.replace(b'"policy_id"', b'"total_claim_cents":7,"policy_id"')
    seen = b'{"claim_id":"b@","filed_at":"<T>","policy_id":"twin@"}'
    once = Decided((), (("policy.claims.count.365d", 1.0),))
    yield Case("C19", "the same event three times", (
        Put(claim, Decided()), *[Put(claim, DUPLICATE)] * 2, Put(seen, once)))  # fmt: skip
    yield Case(
        "C20",
        "the same id, another body",
        (
            Put(claim, Decided()),
            Put(other, Dead("id_conflict")),
            Put(claim, DUPLICATE),
            Put(seen, once),
        ),
    )
    change = b'{"change_id":"@","changed_at":"<T>","policy_id":"twin@","customer_age":30}'
    fixed = change.replace(b"<T>", b"2026-01-02T00:00:00Z").replace(b"twin@", b"prof@")
    yield Case("C20", "a change with another body", (
        Put(change, CHANGE, CHANGES), Put(change, Dead("id_conflict"), CHANGES)))  # fmt: skip
    yield Case(
        "C19",
        "a change twice",
        (
            Put(fixed, CHANGE, CHANGES),
            Put(fixed, DUPLICATE, CHANGES),
            Put(
                b'{"claim_id":"@","filed_at":"<T>","policy_id":"PROF@"}',
                Decided((), (("customer_age", 30.0),)),
            ),
        ),
    )
    label = (
        b'{"adjudication_id":"@","decided_at":"2026-01-02T00:00:00Z",'
        b'"claim_id":"b@","outcome":"fraud"}'
    )
    shop = b'"repair_shop_id":"shop@"'
    yield Case("C19", "a label twice", (
        Put(b'{"claim_id":"b@","filed_at":"<T>","policy_id":"p@",' + shop + b"}", Decided()),
        Put(label, LABEL, LABELS), Put(label, DUPLICATE, LABELS),
        Put(b'{"claim_id":"c@","filed_at":"<T>","policy_id":"p@",' + shop + b"}",
            Decided((), (("repair_shop.fraud.count.180d", 1.0),))),
    ))  # fmt: skip
    phones = b'"phone":"777@","other_party_phone":"(777)@"'
    yield Case("C21", "one phone in two roles", (
        Put(b'{"claim_id":"@","filed_at":"<T>","policy_id":"p@",' + phones + b"}",
            Decided((), (("phone.claims.count.90d", 0.0),))),
        Put(b'{"claim_id":"b@","filed_at":"<T>","policy_id":"p@",' + phones + b"}",
            Decided((), (("phone.claims.count.90d", 1.0), ("phone.policies.distinct.90d", 1.0)))),
    ))  # fmt: skip


def _rest() -> Iterator[Case]:
    registry = (
        "no registry here, so its framing is refused by name; with one, unknown ids, 404, 500 and"
        " time-outs are in tests/claimtrace/schemas/adapters/test_registry.py"
    )
    for name, value in (
        ("magic byte 0", b"\x00\x00\x00\x00\x05{}"),
        ("magic byte 1", b"\x01" + b"\x02" * 16 + b"{}"),
    ):
        yield one("C22", name, value, Dead("unknown_schema"), registry)
    yield one(
        "C22",
        "schema_version 2",
        json_object('"schema_version":2'),
        Dead("unknown_schema", "schema_version"),
    )
    unseen = Decided(
        ("unseen_category",), (("incident_type_collision", 0.0), ("incident_type_theft", 0.0))
    )
    yield one("C23", "category never seen", json_object('"incident_type":"Meteor"'), unseen)
    for text in (
        "<script>alert(1)</script>",
        '=HYPERLINK(\\"x\\")',
        "x\\r\\n2026-01-01 ERROR forged",
        "\\u001b[2J\\u001b]0;x\\u0007",
        "{{7*7}} ${jndi:ldap://x}",
    ):
        yield one("C25", text, json_object(f'"narrative":"{text}","address":"{text}"'), Decided())
        yield one("C25", f"refused: {text}", json_object(f'"narrative":"{text}","vin":["{text}"]'),
                   Dead("bad_type", "vin"))  # fmt: skip
    refused = Dead("bad_currency", "currency")
    yield one(
        "C27", "another currency", json_object('"currency":"EUR","total_claim_cents":5'), refused
    )
    yield one("C27", "no currency at all", json_object('"currency":""'), refused)
    yield one("C27", "the right one in small letters", json_object('"currency":"usd"'), refused,
               why="a log has one currency, written one way; nothing is guessed")  # fmt: skip
    amount = '"total_claim_cents":700,"customer_id":"k@"'
    yield Case(
        "C27",
        "never summed across",
        (
            Put(json_object(amount + ',"currency":"USD"'), Decided()),
            Put(json_object(amount + ',"currency":"EUR"').replace(b'"@"', b'"b@"'), refused),
            Put(
                json_object(amount).replace(b'"@"', b'"c@"'),
                Decided((), (("policy.claimed.sum_cents.365d", 700.0),)),
            ),
        ),
    )
