"""docs/http.md: its snippets, run as printed against a real `claimtrace serve`; and the client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from claimtrace import errors
from claimtrace.client import AsyncClient, Client, NotScored
from claimtrace.decisions import SealedDecision
from tests.worlds.damaged_folder import ask
from tests.worlds.serve_process import ServeProcess

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "http.md").read_text()
CLAIM = (ROOT / "claimtrace_examples" / "claim.json").read_bytes()

pytestmark = pytest.mark.server


def snippets(kind: str) -> list[str]:
    """The code blocks behind a mark `<!-- run: KIND -->`."""
    return re.findall(rf"<!-- run: {kind} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


class Running(NamedTuple):
    url: str
    key: str
    folder: Path

    def run(self, command: list[str], cwd: Path) -> str:
        """Run a snippet in a folder that has the claim."""
        (cwd / "claim.json").write_bytes(CLAIM)
        environment = {**os.environ, "URL": self.url, "KEY": self.key, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True,
                              timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("http")
    folder = place / "claimtrace-data"
    made = ask(folder, "keys", "add", "--name", "portal", "--role", "service",
               "--scope", "models", "--scope", "evidence", "--json")  # fmt: skip
    assert made.code == 0, made.words
    with ServeProcess(folder, place / "said.txt") as server:
        server.until_ready()
        warm = Client(str(server.client.base_url), made.json["key"], total_s=400)
        warm.decide(json.loads(CLAIM) | {"claim_id": "warm"})  # kernels may have to be compiled
        warm.close()
        yield Running(str(server.client.base_url).rstrip("/"), made.json["key"], folder)


def documents(text: str) -> list[Any]:
    """The JSON documents in a text, one after the other."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        while text[at : at + 1].isspace():
            at += 1
    return found


def test_curl(served: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    [snippet] = snippets("curl")
    said = served.run(["sh", "-ec", snippet], tmp_path)
    decided, again, advice = documents(said)
    assert decided == again
    assert (decided["claim_id"], decided["schema_version"]) == ("example-1", 3)
    assert len(decided["chain"]) == 64
    assert (advice["advisory"], advice["claim_id"]) == (True, "example-2")
    assert "chain" not in advice


def test_python(served: Running, tmp_path: Path) -> None:
    blocking, on_a_loop = snippets("python")
    said = served.run([sys.executable, "-c", blocking], tmp_path)
    assert re.match(r"example-1 (approve|review|refer) \S+ [0-9a-f]{8}\n", said)
    assert re.search(r"^(approve|review|refer) as of plan \d+$", said, re.MULTILINE)
    said = served.run([sys.executable, "-c", on_a_loop], tmp_path)
    assert said.strip() == str([f"async-{number}" for number in range(10)])


@pytest.mark.long
def test_java(served: Running, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    [snippet] = snippets("java")
    (tmp_path / "Decide.java").write_text(snippet)
    said = served.run(["java", "-XX:TieredStopAtLevel=1", "Decide.java"], tmp_path)
    status, _, body = said.partition(" ")
    assert status == "200"
    assert json.loads(body)["claim_id"] == "example-1"


def test_the_client_against_the_real_server(served: Running) -> None:
    claim = json.loads(CLAIM) | {"claim_id": "real_1:x"}
    with Client(served.url, served.key) as client:
        first = client.decide_bytes(claim)
        assert client.decide_bytes(claim) == first
        assert client.decision_bytes("real_1:x") == first
        assert msgspec.json.decode(first, type=SealedDecision) == client.decision("real_1:x")
        with pytest.raises(errors.Conflict) as conflict:
            client.decide(claim | {"total_claim_cents": 1})
        assert conflict.value.code == "id_conflict"
        with pytest.raises(errors.ClaimRefused) as refused:
            client.decide({"claim_id": "no id!"})
        assert refused.value.code
        assert refused.value.hint
        with pytest.raises(errors.NotFound):
            client.decision("nobody")
        one, bad = client.score([claim | {"claim_id": "real-3"}, {"claim_id": "no id!"}])
        assert not isinstance(one, NotScored)
        assert one.outcome in ("approve", "review", "refer")
        assert isinstance(bad, NotScored)
        assert bad.reason == refused.value.code
        with pytest.raises(errors.Conflict) as decided:
            client.score(claim)
        assert decided.value.code == "decided_already"
        group = client.features("policy", "pol-0000042")
        assert group.kind == "entity"
        assert any(group.values.values()), "the policy has claims"
        assert client.models().models == []
        with pytest.raises(errors.NotFound):
            client.score(claim | {"claim_id": "real-5"}, model="auto_claims:9")


def test_a_file_of_claims_is_scored(served: Running, tmp_path: Path) -> None:
    claims = [json.loads(CLAIM) | {"claim_id": f"file-{n}"} for n in range(20)]
    lines = "".join(json.dumps(each) + "\n" for each in claims)
    (tmp_path / "claims.ndjson").write_text(lines)
    with Client(served.url, served.key) as client:
        job = client.batches.send(tmp_path / "claims.ndjson", fields=["outcome"])
        done = client.batches.wait(job.id, limit_s=120)
        assert done.lines == 20
        client.batches.output(job.id, tmp_path / "out.ndjson")
        answers = (tmp_path / "out.ndjson").read_text().splitlines()
        assert len(answers) == 20
        assert all("file-" in each and '"outcome"' in each for each in answers)
        assert [each.id for each in client.batches.list()] == [job.id]
        client.batches.remove(job.id)
        with pytest.raises(errors.NotFound):
            client.batches.get(job.id)


def test_what_falls_later_is_waited_for(served: Running) -> None:
    async def run() -> list[str]:
        async with AsyncClient(served.url, served.key) as client:
            claims = [json.loads(CLAIM) | {"claim_id": f"later-{n}"} for n in range(5)]
            found = await asyncio.gather(*(client.decide(each, wait_s=0) for each in claims))
            return [each.claim_id for each in found]

    assert asyncio.run(run()) == [f"later-{n}" for n in range(5)]


def test_a_wrong_key_is_told(served: Running) -> None:
    for key in (None, "ct_" + "a" * 12 + "_" + "b" * 52):
        with Client(served.url, key) as client, pytest.raises(errors.NotAllowed) as said:
            client.models()
        assert said.value.status == 401
        assert said.value.hint
