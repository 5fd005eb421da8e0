"""Limits of requests, headers of answers, and requests that a foreign page makes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rights.headers import CSP, is_safe_policy, secured
from serving.rights.limits import body_limit, check_headers, is_too_deep
from serving.rights.origins import check_origin
from serving.roles import Scope

trees = st.recursive(
    st.none() | st.text(), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(), inner, max_size=3), max_leaves=20,
)  # fmt: skip


def depth_of(tree: object) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(trees, st.integers(0, 40))
def test_depth_is_that_of_the_parsed_tree(tree: object, more: int) -> None:
    for _ in range(more):
        tree = [tree]
    for text in (json.dumps(tree), json.dumps(tree, ensure_ascii=False, indent=1)):
        assert is_too_deep(text.encode()) == (depth_of(tree) > 32)


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(body: bytes) -> None:
    assert is_too_deep(body) in (True, False)


@pytest.mark.parametrize("body", [b'"' + b"\\" * 60_000, b'"\\"' * 20_000, b"[]" * 30_000])
def test_a_hostile_body_is_read_in_one_pass(body: bytes) -> None:
    assert not is_too_deep(body)


def test_each_right_has_a_limit_of_its_body() -> None:
    limits = {scope: body_limit(scope, 1 << 28) for scope in [*Scope, None]}
    assert limits[Scope.DECIDE] == 256 * 1024
    assert limits[Scope.BATCH] == 1 << 28
    assert max(size for scope, size in limits.items() if scope is not Scope.BATCH) == 1 << 20


def test_headers_are_limited_in_number_and_bytes() -> None:
    assert check_headers([(b"a", b"b")] * 64, 10) is None
    assert check_headers([(b"a", b"b")] * 65, 10) is not None
    assert check_headers([(b"a", b"b" * 16_000)], 383) is None
    assert check_headers([(b"a", b"b" * 16_000)], 384) is not None


def test_a_page_may_have_its_own_policy_but_not_weaken_the_rest() -> None:
    own = [(b"content-security-policy", b"default-src 'self'"), (b"x-content-type-options", b"no"),
           (b"strict-transport-security", b"max-age=0")]  # fmt: skip
    found = secured(own, over_tls=True)
    names = [name for name, _ in found]
    assert len(names) == len(set(names))
    assert dict(found)[b"content-security-policy"] == b"default-src 'self'"
    assert dict(found)[b"x-content-type-options"] == b"nosniff"
    assert dict(found)[b"strict-transport-security"] == b"max-age=31536000"
    assert b"strict-transport-security" not in dict(secured([], over_tls=False))


@pytest.mark.parametrize(("policy", "safe"), [
    (CSP, True), ("base-uri 'none'; object-src 'none'; frame-ancestors 'none'", True),
    (CSP + "; script-src 'unsafe-eval'", False), ("default-src 'none'", False),
    (CSP.replace("base-uri 'none'", "base-uri 'none' evil.example"), False), ("", False),
])  # fmt: skip
def test_a_policy_keeps_what_each_page_must(policy: str, safe: bool) -> None:
    assert is_safe_policy(policy) == safe


@pytest.mark.parametrize(("headers", "is_open", "code"), [
    ({}, True, "foreign_host"), ({b"host": b"evil.example:8470"}, True, "foreign_host"),
    ({b"host": b"127.0.0.1.evil.example"}, True, "foreign_host"),
    ({b"host": b"[::1]:8470"}, True, ""), ({b"host": b"localhost:8470"}, True, ""),
    ({b"host": b"claims.example"}, False, ""),
    ({b"host": b"localhost", b"origin": b"https://evil.example"}, True, "cross_site"),
    ({b"host": b"localhost", b"origin": b"null"}, True, "cross_site"),
    ({b"host": b"localhost:8470", b"origin": b"http://localhost:9000"}, True, "cross_site"),
    ({b"host": b"localhost:8470", b"origin": b"http://localhost:8470"}, True, ""),
    ({b"host": b"a.example", b"sec-fetch-site": b"cross-site"}, False, "cross_site"),
    ({b"host": b"a.example", b"sec-fetch-site": b"same-site"}, False, "cross_site"),
    ({b"host": b"a.example", b"sec-fetch-site": b"none"}, False, ""),
    ({b"host": b"a.example", b"origin": b"http://[::1"}, False, "cross_site"),
])  # fmt: skip
def test_requests_of_foreign_pages_are_refused(
    headers: dict[bytes, bytes], is_open: bool, code: str
) -> None:
    denied = check_origin(headers, is_open=is_open)
    assert (denied.code if denied is not None else "") == code
