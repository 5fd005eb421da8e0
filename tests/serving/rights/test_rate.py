"""The token bucket against an oracle that looks back over all earlier requests."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from serving.rights.rate import Rate, TokenBuckets


def allowed_by_oracle(times: list[Fraction], per_s: int, burst: int) -> list[bool]:
    """Whether each request is allowed: between any earlier moment and now, those allowed are at
    most the burst and what was gained since. The slowest obvious version."""
    allowed: list[Fraction] = []
    verdicts = []
    for now in times:
        fits = all(
            sum(1 for each in allowed[i:]) + 1 <= burst + per_s * (now - allowed[i])
            for i in range(len(allowed))
        )
        verdicts.append(fits)
        if fits:
            allowed.append(now)
    return verdicts


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40), st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 6),
)  # fmt: skip
def test_a_bucket_allows_what_the_oracle_allows(steps: list[int], per_s: int, burst: int) -> None:
    """Times are eighths of a second, exact in floats, so both must agree on every request."""
    times, at = [], 0
    for step in steps:
        at += step
        times.append(Fraction(at, 8))
    buckets, rate = TokenBuckets(), Rate(per_s, burst)
    found = [buckets.take("a", rate, 1, float(t)) == 0 for t in times]
    assert found == allowed_by_oracle(times, per_s, burst)


@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.5, 100))
def test_who_waits_as_told_is_allowed(requests: int, burst: int, per_s: float) -> None:
    buckets, rate, now = TokenBuckets(), Rate(per_s, burst), 0.0
    for _ in range(requests):
        wait = buckets.take("a", rate, 1, now)
        if wait:
            now += wait + 1e-9
            assert buckets.take("a", rate, 1, now) == 0


def test_callers_have_buckets_of_their_own() -> None:
    buckets, rate = TokenBuckets(), Rate(1, 1)
    assert buckets.take("a", rate, 1, 0) == 0
    assert buckets.take("b", rate, 1, 0) == 0
    assert buckets.take("a", rate, 1, 0) == 1


def test_a_clock_that_runs_backwards_gives_nothing() -> None:
    buckets, rate = TokenBuckets(), Rate(1, 1)
    assert buckets.take("a", rate, 1, 100.0) == 0
    assert buckets.take("a", rate, 1, 50.0) > 0
    assert buckets.take("a", rate, 1, 100.5) > 0
    assert buckets.take("a", rate, 1, 101.0) == 0


def test_the_memory_is_bounded() -> None:
    buckets = TokenBuckets(most_callers=10)
    for number in range(1000):
        buckets.take(f"caller-{number}", Rate(), 1, 0)
    assert len(buckets._buckets) == 10
