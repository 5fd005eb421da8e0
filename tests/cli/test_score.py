"""`claimtrace score`: answers of today and of a past plan, and whole files of claims.

The folder is one of edition 3 with three models and a roll-out in force: a worker has decided there
in several plans. Kills are at every chunk, and one is a real one.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from claimtrace.looks import AdvisoryDecision
from cli.__main__ import main
from serving.adapters.claim_files import parts as parts_file
from serving.adapters.claim_files.parts import Parts, lines_answered
from serving.batches import rows as batch_rows
from tests.compat.editions import HERE, copy_of, further_events, records_of
from tests.worlds.damaged_folder import Told, ask, contents

EDITION = HERE / "edition_3"
TIME = ("--log-time-ms", "1760000000000")


class Killed(BaseException):
    """The death of the process: no handler of the product runs."""


@pytest.fixture(autouse=True)
def _domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EDITION))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is only read; `claims_of` its log are the lines of the files here."""
    return copy_of(EDITION, tmp_path_factory.mktemp("score") / "folder")


def logged(folder: Path) -> list[dict[str, Any]]:
    """The claims of the log, in the order of their positions."""
    values = records_of(folder / "log.db", "bikes.claimed").values()
    return [each for part in values for value in part if (each := as_object(value)) is not None]


def as_object(value: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "claim_id" in found else None


def decisions(folder: Path) -> dict[str, bytes]:
    parts = records_of(folder / "log.db", "claims.decisions").values()
    return {json.loads(value)["claim_id"]: value for part in parts for value in part}


def new_claims(folder: Path, count: int) -> list[dict[str, Any]]:
    """Claims of the log once more, under new ids: they share their entities with those there."""
    claims = logged(folder)
    return [{**claims[i % len(claims)], "claim_id": f"new-{i}"} for i in range(count)]


def written(path: Path, claims: list[Any]) -> Path:
    """Write claims as NDJSON; a text is a line as it is."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in claims]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def score(folder: Path, *words: object, code: int = 0) -> Told:
    told = ask(folder, "score", *map(str, words))
    assert told.code == code, told.words
    assert "fault of ours" not in told.err
    return told


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_answer_of_a_past_plan_has_the_same_bytes_elsewhere(whole: Path, tmp_path: Path) -> None:
    claim = written(tmp_path / "claim.json", new_claims(whole, 3))
    before = contents(whole)
    said = [score(whole, claim, "--json", "--at-plan", n, *TIME).out for n in (1, 2, 3)]
    assert contents(whole) == before
    assert len(set(said)) == 3
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(whole, elsewhere)
    shutil.rmtree(elsewhere / "state" / "snapshots")  # all of it is replayed there
    for n, answers in zip((1, 2, 3), said, strict=True):
        assert score(elsewhere, claim, "--json", "--at-plan", n, *TIME).out == answers
        answer = json.loads(answers.splitlines()[0])
        assert (next(iter(answer)), answer["as_of"]["plan"]) == ("advisory", n)
        assert answer["log_time_ms"] == int(TIME[1])
        assert set(answer) <= set(AdvisoryDecision.__struct_fields__)
    # without a time the claims are looked at when the plan was written: the same bytes, too
    twice = [score(f, claim, "--json", "--at-plan", 2).out for f in (whole, elsewhere)]
    assert twice[0] == twice[1]
    assert json.loads(twice[0].splitlines()[0])["as_of"]["behind_ms"] == 0


def test_an_answer_of_now_is_that_of_the_newest_plan(whole: Path, tmp_path: Path) -> None:
    claim = written(tmp_path / "claim.json", new_claims(whole, 2))
    now = score(whole, claim, "--json", *TIME).out
    newest = json.loads(now.splitlines()[0])["as_of"]["plan"]
    assert score(whole, claim, "--json", "--at-plan", newest, *TIME).out == now
    other = json.loads(score(whole, claim, "--json", "--model", 1, *TIME).out.splitlines()[0])
    assert (other["model"]["version"], "arm" in other) == (1, False)


def test_each_claim_is_alone_and_a_decided_one_has_its_decision(
    whole: Path, tmp_path: Path
) -> None:
    one, other = new_claims(whole, 2)
    decided = decisions(whole)
    values = records_of(whole / "log.db", "bikes.claimed").values()
    same = next(v for part in values for v in part
                if (c := as_object(v)) and c["claim_id"] in decided)  # fmt: skip
    before = decided[json.loads(same)["claim_id"]]
    file = written(tmp_path / "claims.jsonl", [one, one, other, same.decode()])
    lines = score(whole, file, "--json", *TIME).out.splitlines()
    assert lines[0] == lines[1]
    assert lines[3].encode() == before
    alone = written(tmp_path / "other.json", [other])
    assert score(whole, alone, "--json", *TIME).out.splitlines() == [lines[2]]
    changed = written(tmp_path / "changed.json", [{**json.loads(same), "total_cents": 1}])
    assert "refused: id_conflict" in score(whole, changed, code=1).err


OUTPUTS = ("ndjson", "csv", "parquet", "ndjson.gz", "csv.gz", "parquet.gz")


def lines_of(path: Path) -> list[tuple[str, Any, Any]]:
    """Claim id, outcome and reason of each line of an output, whatever its form is."""
    name = path.name.removesuffix(".gz")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if name.endswith(".ndjson"):
        found = [json.loads(line) for line in content.splitlines()]
        return [(f.get("claim_id") or "", f["decision"]["outcome"] or "", f["decision"]["reason"]
                 or "") for f in found]  # fmt: skip
    plain = path.with_name("plain")
    plain.write_bytes(content)
    rows = (
        list(csv.DictReader(content.decode().splitlines()))
        if name.endswith(".csv")
        else pq.read_table(plain).to_pylist()
    )
    return [(r["claim_id"] or "", r["decision.outcome"] or "", r["decision.reason"] or "")
            for r in rows]  # fmt: skip


def test_each_form_goes_in_and_out(whole: Path, tmp_path: Path) -> None:
    claims = new_claims(whole, 12)
    first = written(tmp_path / "claims.ndjson", claims)
    wanted: list[Any] = []
    for i, name in enumerate(OUTPUTS):
        out = tmp_path / f"out{i}.{name}"
        score(whole, first, "--out", out, "--fields", "outcome,reason,chain", *TIME)
        wanted = wanted or lines_of(out)
        assert lines_of(out) == wanted
        assert not out.with_name(out.name + ".parts").exists()
        # what was an output is an input, too
        again = tmp_path / f"again{i}.ndjson"
        score(whole, out, "--out", again, "--fields", "outcome,reason", *TIME)
        assert lines_of(again) == wanted, name
    assert [each[0] for each in wanted] == [each["claim_id"] for each in claims]
    assert {each[1] for each in wanted} <= {"approve", "review", "refer"}


def test_the_lines_of_a_file_that_are_no_claims_say_why(whole: Path, tmp_path: Path) -> None:
    one, two = new_claims(whole, 2)
    lines = [one, "nonsense", "", "[1]", {**two, "total_cents": -1}, '"\\u0000']
    file = written(tmp_path / "claims.ndjson", lines)
    out = tmp_path / "out.ndjson"
    told = score(whole, file, "--out", out, "--json", "--keep", "claim_id")
    assert told.json["answers"] == {"decided": 1, "refused": 4}
    reasons = [json.loads(line)["decision"]["reason"] for line in out.read_bytes().splitlines()]
    assert reasons == [None, "bad_json", "bad_json", "out_of_range", "bad_json"]
    assert [sorted(json.loads(line)) for line in out.read_bytes().splitlines()][:2] == [
        ["claim_id", "decision"], ["decision", "input"]
    ]  # fmt: skip
    table = tmp_path / "claims.csv"
    table.write_text('claim_id,total_cents,note\na-1,500,"x, y"\na-2,5\na-3,many,\n')
    told = score(whole, table, "--out", out, "--json")
    assert told.json["answers"] == {"decided": 1, "refused": 2}
    first, short, wrong = (json.loads(line) for line in out.read_bytes().splitlines())
    assert first["note"] == "x, y"
    assert "has 2 cells, the header has 3" in short["decision"]["hint"]
    assert (wrong["decision"]["reason"], wrong["decision"]["field"]) == ("bad_type", "total_cents")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_rows, "CHUNK_LINES", 5)


def die_at(monkeypatch: pytest.MonkeyPatch, point: Callable[[Parts, list[Any]], bool]) -> None:
    """Let the process die before a part is kept."""
    add = Parts.add

    def dying(self: Parts, answers: Any) -> None:
        if point(self, answers):
            self.close()  # as the system does with the files of a dead process
            raise Killed
        add(self, answers)

    monkeypatch.setattr(parts_file.Parts, "add", dying)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_a_file_killed_at_any_chunk_has_the_same_digest(
    whole: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "claims.ndjson", [*new_claims(whole, 23), "nonsense"])
    undisturbed, cut = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    score(whole, file, "--out", undisturbed, *TIME)
    for chunk in range(5):
        with monkeypatch.context() as patch:
            die_at(patch, lambda parts, _, chunk=chunk: len(parts) == chunk)
            with pytest.raises(Killed):
                main(["--folder", str(whole), "score", str(file), "--out", str(cut), *TIME])
        assert lines_answered(cut) == 5 * chunk
    told = score(whole, file, "--out", cut, *TIME)
    assert "going on" in told.err
    assert digest(cut) == digest(undisturbed)
    assert lines_answered(cut) == 0


@pytest.mark.usefixtures("small_chunks")
def test_a_batch_goes_on_at_its_own_plan_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream has gone on by the time the batch does, and another champion is in charge."""
    folder = copy_of(EDITION, tmp_path / "folder")
    file, out = written(tmp_path / "claims.ndjson", new_claims(folder, 12)), tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        die_at(patch, lambda parts, _: len(parts) == 1)
        with pytest.raises(Killed):
            main(["--folder", str(folder), "score", str(file), "--out", str(out)])
    for words in (*[each[2:] for each in further_events(EDITION, folder)],
                  ["stream", "--until-end"]):  # fmt: skip
        assert ask(folder, *words).code == 0
    score(folder, file, "--out", out)
    answers = {row["decision.as_of"] for row in csv.DictReader(out.open())}
    assert len(answers) == 1
    other = written(tmp_path / "other.ndjson", new_claims(folder, 11))
    with monkeypatch.context() as patch:
        die_at(patch, lambda parts, _: len(parts) == 1)
        with pytest.raises(Killed):
            main(["--folder", str(folder), "score", str(file), "--out", str(out)])
    assert "another the file of claims" in score(folder, other, "--out", out, code=2).words
    assert "another --as" in score(folder, file, "--out", out, "--as", "claims", code=2).words
    assert "--model" in score(folder, file, "--out", out, "--model", 1, code=2).words


@pytest.mark.usefixtures("small_chunks")
def test_claims_of_a_file_are_decided_by_the_stream_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each chunk, before and behind the log; between two runs a worker decides."""
    digests = []
    for kills in (False, True):
        folder = copy_of(EDITION, tmp_path / f"folder-{kills}")
        claims = new_claims(folder, 12)
        known = decisions(folder)
        old = next(c for c in logged(folder) if c["claim_id"] in known)
        conflict = {**claims[3], "total_cents": 1}
        lines = [*claims, old | {"total_cents": 7}, conflict, claims[4], "nonsense"]
        file, out = written(tmp_path / "claims.ndjson", lines), tmp_path / f"{kills}.csv"
        words = ("--out", out, "--as", "claims", "--wait", 0, "--fields",
                 "status,outcome,score,reason,feature_hash", "--keep", "claim_id")  # fmt: skip
        for chunk in range(4) if kills else ():
            with monkeypatch.context() as patch:
                die_at(patch, lambda parts, _, chunk=chunk: len(parts) == chunk)
                with pytest.raises(Killed):
                    main(["--folder", str(folder), "score", str(file), *map(str, words)])
            if chunk == 1:
                assert ask(folder, "stream", "--until-end").code == 0
        told = score(folder, file, *words, code=70)
        assert "the same command goes on" in told.words
        assert ask(folder, "stream", "--until-end").code == 0
        score(folder, file, *words)
        made = decisions(folder)
        assert len(made) == len(known) + len(claims)
        found = list(csv.DictReader(out.open()))
        for claim, line in zip(claims, found, strict=False):
            sealed = json.loads(made[claim["claim_id"]])
            assert line["decision.advisory"] == "false"
            assert line["decision.feature_hash"] == sealed["feature_hash"]
        assert [line["decision.reason"] for line in found[12:]] == [
            "id_conflict", "id_conflict", "", "bad_json"
        ]  # fmt: skip
        assert json.loads(ask(folder, "verify", "--json").out)["differ"] == 0
        digests.append(digest(out))
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_a_real_kill_and_ctrl_c(whole: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "claims.ndjson", new_claims(whole, 9_000))
    whole_out, cut = tmp_path / "whole.ndjson", tmp_path / "cut.ndjson"
    command = [sys.executable, "-m", "claimtrace", "--folder", str(whole), "score", str(file),
               *TIME, "--out"]  # fmt: skip
    score(whole, file, "--out", whole_out, *TIME)
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        begun = subprocess.Popen(
            [*command, str(cut)], stderr=subprocess.PIPE, text=True, cwd=HERE.parents[1],
            env={"PYTHONPATH": str(EDITION), "PATH": "/usr/bin:/bin"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        behind = lines_answered(cut)
        while lines_answered(cut) <= behind and begun.poll() is None:
            time.sleep(0.005)
        begun.send_signal(number)
        _, said = begun.communicate(timeout=120)
        assert begun.returncode == code, said
        if number == signal.SIGINT:
            assert "stopped: the answers so far are kept beside the output; the same" in said
        assert 0 < lines_answered(cut) < 9_000
        assert not cut.exists()
    score(whole, file, "--out", cut, *TIME)
    assert digest(cut) == digest(whole_out)
