"""Group C of the fault catalogue, part one: bytes, sizes, numbers and texts of a wrong form."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from claimtrace.limits import MAX_VALUE_BYTES
from tests.worlds.fault_catalogue import (
    CHANGES,
    LABELS,
    MARK,
    TOMBSTONE,
    Case,
    Dead,
    Decided,
    Put,
    json_object,
    members,
    one,
    same_entity,
    wide,
)


def cases_of_form() -> list[Case]:
    """Return the cases of C1 to C11, C15 and C24."""
    return [*_encoding(), *_sizes(), *_headers(), *_numbers(), *_texts()]


def _encoding() -> Iterator[Case]:
    good = b'{"claim_id":"@","filed_at":"<T>","policy_id":"p@"}'
    yield one("C1", "tombstone", None, TOMBSTONE)
    yield one("C1", "empty value", b"", TOMBSTONE)
    yield Case("C1", "tombstones elsewhere",
               (Put(None, TOMBSTONE, CHANGES), Put(b"", TOMBSTONE, LABELS)))  # fmt: skip
    yield one("C2", "invalid UTF-8", good.replace(b"p@", b"p\xff"), Dead("bad_utf8"))
    yield one("C2", "overlong UTF-8", good.replace(b"p@", b"p\xc0\xaf"), Dead("bad_utf8"))
    yield one("C2", "BOM", b"\xef\xbb\xbf" + good, Dead("bad_json"))
    yield one("C2", "UTF-16", good.decode().encode("utf-16"), Dead("bad_utf8"))
    yield one("C2", "trailing garbage", good + b" x", Dead("bad_json"))
    yield one("C2", "two objects", good + good, Dead("bad_json"))
    for cut in (1, 9, 20, len(good) - 1):
        yield one("C2", f"cut after {cut} bytes", good[:cut], Dead("bad_json"))
    for text in (b"null", b"[]", b'"a"', b"5", b"true", b"   ", b"{,}", b"{'claim_id':'@'}"):
        yield one("C2", f"not an object: {text.decode()}", text, Dead("bad_json"))
    yield one("C2", "trailing comma", good[:-1] + b",}", Dead("bad_json"))


def _sizes() -> Iterator[Case]:
    deep = b'{"claim_id":"@","x":'
    yield one("C3", "33 objects deep", deep + b'{"a":' * 32 + b"1" + b"}" * 33, Dead("too_deep"))
    yield one("C3", "32 objects deep", deep + b'{"a":' * 31 + b"1" + b"}" * 32,
               Decided(("no_time", "incomplete")))  # fmt: skip
    yield one("C3", "5 000 brackets", deep + b"[" * 5000 + b"]" * 5000 + b"}", Dead("too_deep"))
    yield one("C3", "200 000 brackets", deep + b"[" * 200_000, Dead("too_deep"))
    yield one("C3", "brackets without an object", b"[" * 5000, Dead("bad_json"),
               why="an event is an object: the first byte tells the parser")  # fmt: skip
    yield one("C3", "1 000 000 brackets", b"[" * 10**6, Dead("too_large"),
               why="a megabyte is over the limit of a value, which is checked first")  # fmt: skip
    yield one("C4", "8 MiB of {}", b"{}" * 2**22, Dead("too_large"))
    filler = b'{"claim_id":"@","x":"' + b"y" * (MAX_VALUE_BYTES - 40) + b'"}'
    yield one("C4", "256 KiB and a byte", b" " * (MAX_VALUE_BYTES - 1) + b"{}", Dead("too_large"))
    yield one("C4", "just below 256 KiB", filler, Decided(("no_time", "incomplete")))
    bomb = gzip.compress(b"{" * 10**7, mtime=0)
    yield one("C4", "gzip bomb", bomb, Dead("bad_utf8"),
               why="nothing is unpacked: gzip is no UTF-8, whatever is in it")  # fmt: skip
    many = ",".join(f'"f{i}":1' for i in range(512))
    yield one(
        "C15", "514 members", json_object(f'{many[:-7]},"g":1,"h":2'), Dead("too_many_fields")
    )
    yield one("C15", "5 000 members", json_object(",".join(f'"f{i}":1' for i in range(5000))),
               Dead("too_many_fields"))  # fmt: skip
    yield one("C15", "a list of 5 000", json_object(f'"x":[{",".join("1" * 5000)}]'),
               Dead("too_many_fields"))  # fmt: skip
    yield one(
        "C15",
        "500 unknown members",
        json_object(",".join(f'"f{i}":1' for i in range(500))),
        Decided(),
    )


def _headers() -> Iterator[Case]:
    heads = tuple((f"h{i}", b"v") for i in range(1000))
    yield Case(
        "C24", "1 000 headers", (Put(json_object(""), Dead("headers_too_large"), headers=heads),)
    )
    big = (("small", b"kept"), ("big", b"x" * 2**20), ("after", b"gone"))
    yield Case(
        "C24", "a header of 1 MiB", (Put(json_object(""), Dead("headers_too_large"), headers=big),)
    )
    few = tuple((f"h{i}", b"v" * 100) for i in range(64))
    yield Case("C24", "64 headers", (Put(json_object(""), Decided(), headers=few),))
    yield Case(
        "C24",
        "headers on a tombstone",
        (Put(None, Dead("headers_too_large"), headers=heads),),
        why="the headers are the fault, whatever they stand on",
    )


def _numbers() -> Iterator[Case]:
    amount = '"total_claim_cents":'
    yield from members(
        "C5",
        Dead("bad_json"),
        amount + "NaN",
        amount + "Infinity",
        amount + "-Infinity",
        '"unknown":NaN',
        why="NaN is no JSON: the parser refuses it before any range",
    )
    yield from members("C5", Dead("out_of_range", "total_claim_cents"), amount + "1e999")
    yield from members(
        "C5",
        Dead("bad_type", "total_claim_cents"),
        amount + "-0.0",
        amount + "1e-400",
        amount + "5e-324",
        amount + "1.0",
        why="amounts are whole cents: a number with a point or an exponent is no integer",
    )
    zero = (("total_claim_amount", 0.0),)
    yield from members("C5", Decided((), zero), amount + "-0", amount + "0",
                        why="a component of a claim may be nothing: 0 is in range")  # fmt: skip
    yield from members("C5", Decided(), '"unknown":1e999', '"unknown":' + "9" * 5000)
    out = Dead("out_of_range", "total_claim_cents")
    yield from members("C6", out, amount + "1" + "0" * 30, amount + "9" * 38, amount + "9" * 5000,
                        amount + "-1", amount + "100000000001")  # fmt: skip
    yield from members("C6", Decided((), (("total_claim_amount", 1e9),)), amount + "100000000000")
    yield from members(
        "C6",
        Dead("bad_type", "total_claim_cents"),
        amount + '"1,000.00"',
        amount + '"5"',
        amount + "10.5",
        amount + "true",
    )
    yield from members(
        "C6", Dead("out_of_range", "num_injuries"), '"num_injuries":1000001', '"num_injuries":-1'
    )
    yield from members(
        "C7",
        Dead("bad_type", "customer_id"),
        '"customer_id":9007199254740993',
        '"customer_id":18446744073709551617',
        '"customer_id":5',
        '"customer_id":1.5',
        why="a number is never taken for an id, not even an exact one",
    )
    yield one("C7", "the event's id as a number", b'{"claim_id":5}', Dead("bad_type", "claim_id"))
    yield one("C7", "the event's id as a float", b'{"claim_id":5.5}', Dead("bad_type", "claim_id"))


def _texts() -> Iterator[Case]:
    for twice in ('"policy_id":"q"', '"x":1,"x":2', '"claim_id":"other"', '"\\u0078":1'):
        yield one("C8", twice, json_object(twice), Dead("duplicate_key"),
                   "an escaped key could equal a plain one" if "\\" in twice else "")  # fmt: skip
    yield one("C8", "twice below the first level", json_object('"x":{"a":1,"a":2}'), Decided(),
               why="events are flat: an unknown member is ignored whole")  # fmt: skip
    yield from members(
        "C9",
        Dead("bad_string"),
        '"vin":"a\\u0000b"',
        '"vin":"\\ud800"',
        '"vin":"\\udc00x"',
        '"vin":"\\ud800\\ud800"',
        '"unknown":"\\ud83d"',
        '"narrative":"\\uD83D x"',
    )
    yield one("C9", "raw NUL", json_object('"vin":"a\0b"'), Dead("bad_json"),
               why="control characters stand escaped in JSON or not at all")  # fmt: skip
    yield one("C9", "raw line feed", json_object('"vin":"a\nb"'), Dead("bad_json"))
    yield one(
        "C9",
        "a surrogate in UTF-8",
        json_object('"vin":"#"').replace(b"#", b"\xed\xa0\x80"),
        Dead("bad_utf8"),
    )
    yield one(
        "C9",
        "1 000 000 combining marks",
        json_object(f'"vin":"e{MARK * 10**6}"'),
        Dead("too_large"),
    )
    yield one("C9", "100 000 combining marks", json_object(f'"narrative":"e{MARK * 10**5}"'),
               Dead("out_of_range", "narrative"))  # fmt: skip
    yield one(
        "C9", "8 000 combining marks", json_object(f'"narrative":"e{MARK * 8000}"'), Decided()
    )
    count = "address.claims.count.90d"
    yield same_entity(
        "C9",
        "address",
        count,
        "1 road",
        "1\\u202e road",
        "\\u200b1 road",
        "1 r\\u0007oad",
        "1 road\x7f",
    )
    yield same_entity(
        "C10",
        "vin",
        "vehicle.claims.count.365d",
        "1HGCM82633A004352",
        "1hgcm82633a004352",
        wide("1HGCM82633A004352"),
        "1HG-CM826 33A.004352",
        " 1HGCM82633A004352 ",
    )
    yield same_entity(
        "C10",
        "phone",
        "phone.claims.count.90d",
        "5550100",
        "(555) 01-00",
        wide("5550100"),
        "555.0100",
    )
    yield same_entity(
        "C10",
        "address",
        count,
        "Caf\u00e9 Straße 1",
        "cafe\u0301 straße 1",
        "CAFÉ STRASSE 1",
        f"{wide('C')}af\u00e9 straße {wide('1')}",
    )
    for text in ("UNKNOWN", "Unkown", "N/A", "none", "-", "*", "000", "0000000000", wide("111111")):
        yield Case("C11", f"placeholder {text}", tuple(
            Put(json_object(f'"repair_shop_id":"{text}","phone":"0000000"'), Decided(
                ("placeholder_id",),
                (("repair_shop.claims.count.7d", None), ("phone.claims.count.90d", None)),
            )) for _ in range(2)
        ))  # fmt: skip
