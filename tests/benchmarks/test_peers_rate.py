"""The runner: what peers say is read, environments are pinned, and what is missing is named."""

from __future__ import annotations

import doctest
import math
import re
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import xgboost

from benchmarks import peers_rate
from benchmarks.canonical import events
from benchmarks.champion import served_vectors
from benchmarks.peers import environments
from benchmarks.peers.environments import PeerMissing, environment, newer_python
from benchmarks.peers_rate import OURS, PEERS, parse, pythons, show, with_rates
from claimtrace.errors import StateError
from claimtrace.settings.schema import Settings
from tests.servers.topics import create_topics, read_topic

REQUIREMENTS = sorted(environments.REQUIREMENTS.glob("*.txt"))
FOUND = {"events": 100, "wall_s": 2.0, "cpu_s": 1.0, "referred_ratio": 0.05,
         "broker_us_per_event": 9.0, "versions": {"python": "3.11"}}  # fmt: skip


def test_figures_stand_in_the_last_line_that_is_json():
    said = 'ƒaµS† v1\n{"old": 1}\n{"emitted": 7, "referred_ratio": 0.05}\n\x1b[?25h'
    assert parse("faust", said)["emitted"] == 7


@pytest.mark.parametrize("said", ["", "{", "{}", '{"emitted": 0}', "no"])
def test_a_peer_that_said_nothing_is_named_with_its_last_words(said):
    with pytest.raises(StateError, match=r"quix said nothing: .*ValueError: no broker"):
        parse("quix", said, "Traceback here ValueError: no broker")


def test_rates_are_told_beside_ours():
    ours = with_rates({"events": 400, "wall_s": 1.0, "cpu_s": 0.5})
    found = with_rates(FOUND, ours)
    assert found["events_per_s"] == 50
    assert found["events_per_core_s"] == 100
    assert found["cpu_us_per_event"] == 10_000
    assert found["times_ours"] == 8


def test_the_table_has_every_peer_and_what_it_does_less():
    lines: list[str] = []
    rows = {OURS: with_rates(FOUND, FOUND), **dict.fromkeys(PEERS, with_rates(FOUND, FOUND))}
    less = {name: peer.less for name, peer in PEERS.items()}
    show({"policies": 10, "value_bytes": 1100.0, "found": rows, "less": less}, lines.append)
    table = "\n".join(lines)
    assert all(re.search(rf"^{name} .* 5\.0 % ", table, re.MULTILINE) for name in rows)
    assert all(peer.less in table for peer in PEERS.values())


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_requirements_are_pinned_with_hashes_and_name_no_host(path: Path):
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra|find|trusted)", text, re.MULTILINE)
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_every_peer_has_its_script_and_its_requirements():
    for peer in PEERS.values():
        assert (environments.REQUIREMENTS / f"{peer.module}.py").exists()
        assert not peer.requirements or (
            environments.REQUIREMENTS / f"{peer.requirements}.txt" in REQUIREMENTS
        )


def test_without_a_network_the_missing_peer_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (tmp_path / "quix.txt").write_text(f"no-such-peer==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(PeerMissing, match=r"can't be installed: .*no-such-peer") as caught:
        environment("quix")
    assert "network" in caught.value.hint
    assert [each.name for each in (cache / "claimtrace" / "peers").iterdir()] == ["quix.lock"]


def test_a_missing_peer_ends_the_run_before_anything_is_started(tmp_path, monkeypatch):
    def missing(name, python):
        raise PeerMissing(f"{name} can't be installed", hint="mend the network")

    monkeypatch.setattr(peers_rate, "environment", missing)
    with pytest.raises(PeerMissing, match="quix can't be installed"):
        peers_rate.run(tmp_path, policies=1, warm=1, events_each=1, seconds=1.0,
                       peers=["plain", "quix"], newer="")  # fmt: skip


def test_an_environment_that_is_there_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(environments, "_install", _pretend)
    first = environment("plain")
    monkeypatch.setattr(environments, "_install", None)
    assert environment("plain") == first
    major, minor = sys.version_info[:2]
    assert f"plain-py{major}{minor}-" in str(first)


def _pretend(pinned: Path, folder: Path, python: str) -> None:
    assert pinned.suffix == ".txt"
    assert python == sys.executable
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()


def test_a_newer_python_is_found_told_or_done_without(tmp_path, monkeypatch, capsys):
    old = tmp_path / "python3.13"  # a shim that only complains
    old.write_text("#!/bin/sh\necho no such version >&2\nexit 127\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert newer_python() == ""
    with pytest.raises(PeerMissing, match=r"3\.12"):
        newer_python(str(old))
    monkeypatch.setattr(environments, "_version", lambda python: (3, 13))
    assert newer_python() == str(old)
    monkeypatch.undo()
    monkeypatch.setattr(peers_rate, "newer_python", lambda told: told)
    assert pythons(["plain", "plain-newer"], "") == {"plain": Path(sys.executable)}
    assert "plain-newer is left out" in capsys.readouterr().err


def test_the_plain_loop_decides_on_kafka_what_the_engine_serves(kafka, tmp_path):
    policies, claims = 400, 4_000
    sent = list(events(policies, claims))
    create_topics(kafka.bootstrap, {peers_rate.SOURCE: 1})
    peers_rate.fill_source(Settings(source=f"kafka://{kafka.bootstrap}"), sent)
    vectors = served_vectors(policies, claims)
    save_model(tmp_path / "models" / "canonical" / "000001" / "model.json", vectors)
    bench = peers_rate.Bench(
        kafka, tmp_path, tmp_path / "models", policies, warm=10, events=300, seconds=10.0,
        events_a_claim=len(sent) / claims,
    )  # fmt: skip
    found = peers_rate.measure_peer("plain", Path(sys.executable), bench)
    assert found["events"] > 100
    assert with_rates(found)["cpu_us_per_event"] >= 0
    decided = [
        msgspec.json.decode(record.value or b"")
        for record in read_topic(kafka.bootstrap, "peers.plain")
    ]
    assert len(decided) == found["emitted"]
    served = [[math.nan if each is None else each for each in one["features"]] for one in decided]
    np.testing.assert_array_equal(served, vectors[: len(served)])
    assert [one["claim_id"] for one in decided] == [f"claim-{n:010d}" for n in range(len(decided))]


def test_a_peer_that_fails_is_named_with_its_last_words(kafka, tmp_path):
    bench = peers_rate.Bench(
        kafka, tmp_path, tmp_path / "none", 100, warm=1, events=5, seconds=5.0, events_a_claim=1.0
    )
    with pytest.raises(StateError, match=r"it ended after 0 results: .*\[floor\]"):
        peers_rate.measure_peer("floor", Path(sys.executable), bench)


def save_model(path: Path, rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True)
    matrix = xgboost.DMatrix(rows, rows[:, 0] > np.median(rows[:, 0]), nthread=1)
    xgboost.train({"max_depth": 3, "objective": "binary:logistic", "nthread": 1}, matrix, 20
                  ).save_model(path)  # fmt: skip


@pytest.mark.parametrize("module", [peers_rate, environments], ids=lambda each: each.__name__)
def test_examples_hold(module):
    assert doctest.testmod(module).failed == 0
