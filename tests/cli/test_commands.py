"""The command line as a person meets it: one small demo, then every command on what it left."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC, SealedDecision
from cli.__main__ import app, main
from tests.worlds.brief_training import training_briefly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "data"


@pytest.fixture(scope="module")
def told(folder: Path) -> Iterator[str]:
    """What `demo --quick` prints; it was interrupted while it began."""
    with training_briefly():
        yield demo(folder)


def demo(folder: Path) -> str:
    """Run the demo, interrupt it, and run it again; returns what it prints."""
    command = [sys.executable, "-m", "claimtrace", "--folder", str(folder), "demo", "--quick"]
    begun = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not (folder / "log.db").exists():
        time.sleep(0.05)
    time.sleep(3)
    begun.send_signal(signal.SIGINT)
    said = begun.communicate(timeout=300)
    assert begun.returncode == 130, said
    assert "stopped: the steps that are done stay; the same command goes on" in said[1]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def ask(folder: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["--folder", str(folder), *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_demo_shows_the_whole_line(told):
    told = " ".join(told.split())
    assert "promoted as the first champion" in told
    assert "p50" in told
    assert "p99" in told
    assert "drift alert, inputs, raised" in told
    assert "police_report_available" in told
    assert "0 of 32,398 decisions differ" in told
    assert "the chain holds" in told
    assert "values differ between live and back-fill" in told


def test_most_of_the_ring_is_in_the_queue(told):
    caught, _, rest = " ".join(told.split()).partition(" of the 10 claims of the day's ring")
    assert rest
    assert int(caught.split()[-1]) >= 6


def test_the_commands_that_the_demo_prints_work_as_printed(told):
    _, _, commands = told.partition("go on with\n")
    assert len(commands.strip().splitlines()) == 4
    for command in commands.strip().splitlines():
        ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)


@pytest.mark.usefixtures("told")
def test_score_answers_a_decided_claim_with_its_decision(folder, tmp_path, capsys):
    with EmbeddedLog(folder / "log.db") as log:
        (claim,) = log.read("claims.filed", 0, 100, 1)
        decided = log.read(DECISIONS_TOPIC, 0, 100, 1)[0].value
    claim_id = json.loads(claim.value)["claim_id"]
    again = b'{"claim_id":"new-1","total_claim_cents":5}'
    (tmp_path / "claims.jsonl").write_bytes(b"\n".join([claim.value, again, again]))
    code, out, err = ask(folder, "score", str(tmp_path / "claims.jsonl"), capsys=capsys)
    assert (code, err) == (0, "")
    assert f"claim 1 was decided already, and so: {claim_id}" in " ".join(out.split())
    code, out, _ = ask(folder, "score", "--json", str(tmp_path / "claims.jsonl"), capsys=capsys)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["claim_id"] for answer in answers] == [claim_id, "new-1", "new-1"]
    assert [answer.get("advisory", False) for answer in answers] == [False, True, True]
    assert json.loads(decided)["claim_id"] != claim_id or answers[0] == json.loads(decided)


@pytest.mark.usefixtures("told")
def test_contributions_of_every_referred_claim_sum_to_its_margin(folder):
    log = EmbeddedLog(folder / "log.db")
    explained = 0
    for partition in range(4):
        for record in log.read(DECISIONS_TOPIC, partition, 0, 10**6):
            decision = msgspec.json.decode(record.value, type=SealedDecision)
            if decision.outcome == "refer" and decision.model is not None:
                explained += 1
                total = decision.base_margin + decision.rest_margin
                total += sum(reason.contribution for reason in decision.reasons)
                assert total == pytest.approx(decision.margin, abs=1e-4)
                assert all(reason.text for reason in decision.reasons)
    log.close()
    assert explained >= 10


@pytest.mark.usefixtures("told")
def test_verify_reproduces_every_decision_in_another_folder(folder, tmp_path, capsys):
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    code, out, _ = ask(copy, "verify", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["differ"] == 0
    assert json.loads(out)["decisions"] == 32_398


@pytest.mark.usefixtures("told")
def test_verify_into_a_folder_writes_the_same_decisions(folder, tmp_path, capsys):
    code, _, _ = ask(folder, "verify", "--into", str(tmp_path), "--json", capsys=capsys)
    assert code == 0
    ours, theirs = EmbeddedLog(folder / "log.db"), EmbeddedLog(tmp_path / "log.db")
    for partition in range(4):
        first = ours.read(DECISIONS_TOPIC, partition, 0, 10**6)
        second = theirs.read(DECISIONS_TOPIC, partition, 0, 10**6)
        assert [(r.key, r.value) for r in first] == [(r.key, r.value) for r in second]
    ours.close()
    theirs.close()


@pytest.mark.usefixtures("told")
def test_a_log_that_lost_its_last_decisions_fails_verify(folder, tmp_path, capsys):
    copy = tmp_path / "cut"
    shutil.copytree(folder, copy)
    _cut_last_batch(copy / "log.db", DECISIONS_TOPIC)
    code, out, _ = ask(copy, "verify", "--json", capsys=capsys)
    assert code == 1
    assert json.loads(out)["differ"] > 0
    assert "ends too early" in json.loads(out)["first"]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("models",),
        ("models", "history"),
        ("features", "show"),
        ("features", "diff"),
        ("offline", "tables"),
        ("offline", "sql", "select outcome, count(*) as n from decisions group by 1"),
        ("offline", "sql", 'select "phone.policies.distinct.90d" as x from vectors limit 3'),
        ("verify", "--chain"),
        ("stream", "--until-end"),
    ],
    ids=" ".join,
)
def test_commands_speak_to_people_and_to_programs(folder, arguments, capsys):
    code, out, err = ask(folder, *arguments, capsys=capsys)
    assert code == 0, out + err
    assert out.strip()
    code, out, err = ask(folder, *arguments, "--json", capsys=capsys)
    assert code == 0, out + err
    json.loads(out)


@pytest.mark.usefixtures("told")
def test_score_decides_without_writing(folder, tmp_path, capsys):
    claim = {
        "claim_id": "what-if-1",
        "filed_at": "2025-11-28T10:00:00Z",
        "policy_id": "p-1",
        "total_claim_cents": 990_000,
        "bank_account": "DE00 0000 1111",
    }
    bad = {"claim_id": "what-if-2", "total_claim_cents": -5}
    file = tmp_path / "claims.jsonl"
    file.write_text(json.dumps(claim) + "\n" + json.dumps(bad) + "\n")
    before = (folder / "state" / "journal").read_bytes()
    code, out, err = ask(folder, "score", str(file), capsys=capsys)
    assert code == 1
    assert "what-if-1" in out
    assert "claim 2 refused: out_of_range total_claim_cents" in err
    assert (folder / "state" / "journal").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stream", "--until-and"), "No such option"),
        (("strem",), "Did you mean"),
        (("verify",), "there is no log yet"),
        (("simulate", "--drift", "floods@3:1"), "is no drift"),
        (("simulate", "--ring", "soon"), "is no ring"),
        (("simulate", "--start", "01.02.2025"), "is no day"),
        (("simulate", "--days", "0"), "not within"),
        (("replay", "none.csv", "--mapping", "none.toml"), "can't read the mapping"),
        (("score", "none.json"), "can't read the claims"),
        (("offline", "sql", "select * from desicions"), "the tables are"),
        (("train",), "the offline store"),
        (("models", "live-at", "yesterday"), "is no time"),
        (("--config", "none.toml", "doctor"), "no such settings file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_names_the_field_and_the_mend_without_a_trace(
    arguments, words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = ask(tmp_path / "new", *arguments, capsys=capsys)
    assert code == 2
    assert words in " ".join((out + err).split())
    assert "Traceback" not in out + err
    assert not (tmp_path / "claimtrace.log").exists()


def test_another_domain_has_no_simulator(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CLAIMTRACE_DOMAIN", "claimtrace_examples.card_payments")
    for command in ("simulate", "demo"):
        code, _, err = ask(tmp_path / "new", command, capsys=capsys)
        assert code == 2
        assert "no simulator for the domain card_payments" in " ".join(err.split())
    assert not (tmp_path / "new").exists()


def test_an_unknown_setting_names_the_nearest(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CLAIMTRACE_STREAM__BATCH_RECORD", "5")
    code, _, err = ask(tmp_path, "doctor", capsys=capsys)
    assert code == 2
    assert "did you mean CLAIMTRACE_STREAM__BATCH_RECORDS?" in " ".join(err.split())


def test_our_own_fault_shows_a_trace_in_the_log_only(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("cli.commands.start.doctor._examine", fails)
    code, out, err = ask(tmp_path, "doctor", capsys=capsys)
    assert code == 70
    assert "Traceback" not in out + err
    assert "ZeroDivisionError" in (tmp_path / "claimtrace.log").read_text()


def test_text_from_a_log_is_harmless_on_a_terminal():
    from cli.console import safe

    assert "\x1b" not in safe("\x1b]0;owned\x07")
    assert "\n" not in safe("first\r\nERROR forged")
    assert safe("[red]x[/]") == "\\[red]x\\[/]"


def test_every_command_teaches(capsys):
    from typer.main import get_command

    def walk(command, path):
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, [*path, name])
        else:
            assert command.help, path
            assert all(p.help for p in command.params if p.name != "help"), path

    walk(get_command(app), [])


def _cut_last_batch(path: Path, topic: str) -> None:
    """Remove the newest stored batch of a topic behind the log's back."""
    database = sqlite3.connect(path)
    database.execute(
        "delete from batches where (topic_id, partition, base) = ("
        "select topic_id, partition, base from batches join topics using (topic_id) "
        "where topics.topic = ? order by base desc limit 1)",
        (topic,),
    )
    database.commit()
    database.close()
