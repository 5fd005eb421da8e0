"""Requests that schemathesis makes from the OpenAPI document: no fault, and every answer fits.

pytest -m long tests/serving/adapters/test_api_fuzz.py     10,000 calls
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.adapters.batches.job_store import JobStore
from serving.adapters.batches.runner import JobRunner
from serving.adapters.batches.service import BatchService
from serving.adapters.http.app import ENDPOINTS, build_app
from serving.adapters.http.endpoint import Parts
from tests.worlds.looking import an_engine, looking

FEW = 12
CHECKS = [
    not_a_server_error, content_type_conformance, response_schema_conformance,
    status_code_conformance, response_headers_conformance,
]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application with everything that a process can have."""
    engine, claims = an_engine()
    folder = tmp_path_factory.mktemp("batches")
    with looking(engine, claims[-1].log_time_ms) as world:
        store = JobStore(folder)
        runner = JobRunner(store, lambda *_: [sys.executable, "-c", ""], lambda _: 0, world.clock)
        batches = BatchService(store, runner, world.clock)
        parts = Parts(looks=world.looks, models=world.models, batches=batches)
        yield build_app(parts, [each for each in ENDPOINTS if parts.has(each.needs)])
        batches.close()


def call_operation(operation: Any, each: int, word: int, seen: Counter[tuple[str, int]]) -> None:
    @seed(word)
    @settings(max_examples=each, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy())
    def call(case: Any) -> None:
        answer = case.call()
        seen[f"{operation.method.upper()} {operation.path}", answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    call()


def calls(app: Any, each: int, word: int) -> Counter[tuple[str, int]]:
    """Call every operation `each` times; returns how often each status was answered."""
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
    seen: Counter[tuple[str, int]] = Counter()
    for found in schema.get_all_operations():
        call_operation(found.ok(), each, word, seen)
    return seen


def test_few_calls(app: Any) -> None:
    seen = calls(app, FEW, 1)
    called = {name for name, _ in seen}
    served = [each for each in ENDPOINTS if app.state.parts.has(each.needs)]
    described = {f"{each.method} {each.path.replace(':path', '')}" for each in served}
    assert called == described - {"GET /v1/openapi.json"}  # whence the description came
    assert seen["POST /v1/batches", 202]
    assert any(status == 422 for (name, status) in seen if name == "POST /v1/scores")


@pytest.mark.long
def test_ten_thousand_calls(app: Any) -> None:
    seen = calls(app, 1_500, 2)  # those without any parameter are called once
    assert sum(seen.values()) >= 10_000
