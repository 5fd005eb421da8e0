"""Ctrl-C at any moment: exit code 130, one line and no trace; the same command again then works."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from cli import stream_run
from cli.commands.start import demo
from cli.stream_run import Ran, Stopped
from stream.adapters.process.stop_signals import StopSignals
from stream.engine.effects import Counts

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130
SIMULATE = ("simulate", "--days", "40", "--claims-per-day", "500", "--policies", "3000")
TOPICS = ("policies.changed", "claims.adjudicated", "claims.filed")

# what the console script does, with a sign as soon as Ctrl-C is ours: before the heavy imports
PROGRAM = """
import signal, sys, threading, time
from cli.entry import main
def tell():
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.001)
    print("up", flush=True)
threading.Thread(target=tell, daemon=True).start()
sys.exit(main())
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command as a shell does; returns when its first line of ours has run."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    return started


def interrupt(started: subprocess.Popen[str], after_s: float) -> tuple[int, str, str]:
    """Send Ctrl-C after a while; returns exit code and output."""
    time.sleep(after_s)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=120)
    return started.returncode, out, err


def check(code: int, out: str, err: str) -> None:
    assert "Traceback" not in out + err
    assert "fault of ours" not in out + err
    # 0: it had come to its end; 70: a machine under load took too long for an orderly one
    assert code in (0, INTERRUPTED) or "ended at once" in err, out + err
    if code:
        (line,) = [line for line in err.splitlines() if re.search("stopped|ended at once", line)]
        assert re.search(r"same command|see claimtrace|at the next start", line), line


# a machine under load takes longer for each step: some of these fall into imports, others into work
@pytest.mark.slow
@pytest.mark.parametrize(
    "after_s",
    [
        0,
        0.05,
        0.2,
        0.5,
        1.2,
        *(pytest.param(s, marks=pytest.mark.long) for s in (0.02, 0.1, 0.3, 0.8, 2, 3)),
    ],
)
def test_at_any_moment_it_ends_with_one_line(tmp_path: Path, after_s: float) -> None:
    folder = ("--folder", str(tmp_path / "data"))
    check(*interrupt(start(*folder, *SIMULATE), after_s))
    check(*interrupt(start(*folder, "doctor"), after_s))


def log_of(folder: Path) -> list[tuple[str, int, bytes]]:
    with EmbeddedLog(folder / "log.db", create=False) as log:
        return [
            (topic, partition, record.value)
            for topic in TOPICS
            for partition in range(4)
            for record in log.read(topic, partition, 0, 10**6)
        ]


@pytest.mark.slow
def test_a_simulation_and_its_stream_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start("--folder", str(whole), *SIMULATE).wait(timeout=120) == 0
    for command in (SIMULATE, ("stream", "--until-end")):
        for attempt in range(20):  # ever later, so that it comes to its end
            code, out, err = interrupt(start("--folder", str(cut), *command), 0.7 + 0.7 * attempt)
            check(code, out, err)
            if code == 0:
                break
        assert code == 0
        if command is SIMULATE:
            assert log_of(cut) == log_of(whole)
    ran = subprocess.run(
        [sys.executable, "-m", "claimtrace", "--folder", str(cut), "offline", "sql", "--json",
         "select count(*) as n, count(distinct claim_id) as claims from decisions"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    (counts,) = json.loads(ran.stdout)
    assert counts["n"] == counts["claims"] > 15_000


def test_a_demo_whose_stream_was_stopped_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli.__main__ import main

    for number in (signal.SIGINT, signal.SIGTERM):

        def stopped(*_: object, number: int = number, **__: object) -> Ran:
            raise Stopped(Ran(Counts(), 0, 0.0, 0.0, 0.0), number)

        monkeypatch.setattr(demo._World, "simulate_history", lambda _: None)
        monkeypatch.setattr(demo, "run_stream", stopped)
        monkeypatch.setattr(demo, "run_training", lambda *_: pytest.fail("it went on"))
        assert main(["--folder", str(tmp_path / "data"), "demo", "--quick"]) == INTERRUPTED
        told = capsys.readouterr().err
        assert told.splitlines()[-1].startswith("stopped: the steps that are done stay")


@pytest.mark.slow
def test_sigterm_is_answered_from_the_first_line_of_the_log_on(tmp_path: Path) -> None:
    """The imports that follow that line take seconds."""
    for n in range(6):
        worker = subprocess.Popen(
            [sys.executable, "-m", "claimtrace", "--folder", str(tmp_path / "data"), "stream"],
            cwd=ROOT, text=True, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert worker.stderr is not None
        assert " start  worker=stream " in worker.stderr.readline()
        time.sleep(0.3 * n)
        worker.send_signal(signal.SIGTERM)
        err = worker.communicate(timeout=60)[1]
        assert worker.returncode == 0, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 0)])
def test_a_worker_that_was_asked_to_stop_tells_its_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    from cli.__main__ import main

    ran = Ran(Counts(claims=5, records=7), 0, 1.0, 0.1, 0.1)

    def asked(_workspace: object, stopping: StopSignals, *_: object) -> Ran:
        signal.raise_signal(number)
        assert stopping()
        return ran

    monkeypatch.setattr(stream_run, "_run_until_stopped", asked)
    assert main(["--folder", str(tmp_path / "data"), "stream"]) == code
    printed = capsys.readouterr()
    assert "5 claims decided of 7 records" in printed.out
    said = printed.err.count("stopped: every batch that was begun is kept; the same command goes")
    assert said == (number == signal.SIGINT)
