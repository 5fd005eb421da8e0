"""Decisions and dead letters for people, on the embedded log: found, shown, and sent again once."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.events import Outgoing, Record
from claimtrace_examples.auto_claims import DOMAIN
from cli.__main__ import main
from serving.reading.dead_letter import resent_id
from tests.cli.test_kafka_commands import ROOT

NOW_MS = 1_780_000_000_000
CLAIM = {"filed_at": "2026-05-28T20:00:00Z", "incident_at": "2026-05-27T10:00:00Z",
         "currency": "USD", "policy_id": "pol-1", "customer_id": "cus-1",
         "total_claim_cents": 120_000}  # fmt: skip
HOSTILE = b'{"claim_id":"c-bad","note":"\x1b[31m[bold]red[/]\xff"}'


def claim(number: int, **more: object) -> bytes:
    return msgspec.json.encode({**CLAIM, "claim_id": f"c-{number}", **more})


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve decisions and three dead letters, two of them of one kind."""
    folder = tmp_path_factory.mktemp("decided") / "folder"
    folder.mkdir()
    with EmbeddedLog(folder / "log.db") as log:
        for topic in DOMAIN.topics:
            log.create_topic(topic, 4)
        values = [claim(number) for number in range(12)]
        values += [HOSTILE, b'{"claim_id"', b"[]"]
        log.append(
            [Outgoing("claims.filed", n % 4, b"pol-%d" % (n % 3), value, NOW_MS + n * 1000)
             for n, value in enumerate(values)]
        )  # fmt: skip
    assert main(["--folder", str(folder), "stream", "--until-end"]) == 0
    return folder


@pytest.fixture
def folder(decided: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(decided, tmp_path / "folder"))


def run(folder: Path, *words: str) -> int:
    return main(["--folder", str(folder), *words])


def asked(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(folder, *words) == 0
    return capsys.readouterr().out


def filed(folder: Path) -> list[Record]:
    with EmbeddedLog(folder / "log.db", to_read=True) as log:
        return [each for part in range(4) for each in log.read("claims.filed", part, 0, 1_000)]


def test_the_store_and_the_log_give_the_same_list(decided, capsys):
    filters = [[], ["-n", "5"], ["--claim", "c-3"], ["--flag", "no_model"], ["--model", "none"],
               ["--from", "2026-05-28T20:26:43Z", "--to", "2026-05-28T20:26:46Z"],
               ["--outcome", "refer"], ["--score-from", "0.5"], ["--arm", "none"]]  # fmt: skip
    for words in filters:
        stored = json.loads(asked(decided, capsys, "decisions", "list", "--json", *words))
        logged = json.loads(asked(decided, capsys, "decisions", "list", "--json", "--log", *words))
        for row in stored:
            row["policy_key"] = None  # the log doesn't know it
        assert stored == logged, words
    assert len(json.loads(asked(decided, capsys, "decisions", "list", "--json"))) == 12
    found = json.loads(asked(decided, capsys, "decisions", "list", "--json", "--policy", "pol-1"))
    assert len(found) == 12
    rows = list(csv.DictReader(io.StringIO(asked(decided, capsys, "decisions", "list", "--csv"))))
    assert [row["claim_id"] for row in rows] == [f"c-{n}" for n in reversed(range(12))]


def test_the_tail_is_the_newest_in_order_and_its_json_the_bytes_on_the_log(decided, capsys):
    lines = asked(decided, capsys, "decisions", "tail", "--once", "-n", "3").splitlines()
    assert [line.split()[4] for line in lines] == ["c-9", "c-10", "c-11"]
    shown = asked(decided, capsys, "decisions", "tail", "--once", "--json", "-n", "100", "--claim",
                  "c-7").encode()  # fmt: skip
    with EmbeddedLog(decided / "log.db", to_read=True) as log:
        sealed = [r.value for p in range(4) for r in log.read("claims.decisions", p, 0, 99)]
    (one,) = [value for value in sealed if b'"claim_id":"c-7"' in value]
    assert shown == one + b"\n"
    assert asked(decided, capsys, "decisions", "show", "c-7", "--json").encode() == one + b"\n"
    words = asked(decided, capsys, "decisions", "show", "c-7")
    for each in ("c-7", "claims.filed/3 position 1", json.loads(one)["chain"], "no_model"):
        assert each in words


def test_a_follower_sees_what_is_decided_after_it_began(folder):
    command = [sys.executable, "-m", "claimtrace", "--folder", str(folder), "decisions", "tail",
               "-n", "1", "--csv"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as tail:
        try:
            assert tail.stdout is not None
            assert tail.stdout.readline().startswith("decision_id,")
            assert "c-11" in tail.stdout.readline()
            with EmbeddedLog(folder / "log.db") as log:
                log.append([Outgoing("claims.filed", 0, b"k", claim(77), NOW_MS + 60_000)])
            assert run(folder, "stream", "--until-end") == 0
            assert "c-77" in tail.stdout.readline()
            tail.send_signal(signal.SIGINT)
            assert tail.wait(60) == 130
        finally:
            tail.kill()


def test_dead_letters_are_counted_and_shown_without_their_escapes(decided, capsys):
    shown = asked(decided, capsys, "dead", "list")
    assert "bad_json" in shown
    assert "claims.filed/0/3" in shown
    found = json.loads(asked(decided, capsys, "dead", "list", "--json"))
    assert sum(each["letters"] for each in found["reasons"]) == 3
    assert {each["id"] for each in found["letters"]} == {f"claims.filed/{n}/3" for n in range(3)}
    one = asked(decided, capsys, "dead", "show", "claims.filed/0/3")
    assert "\x1b" not in one
    assert r"\x1b[31m[bold]red[/]\xff" in one
    assert "bad_utf8" in one
    none = asked(decided, capsys, "dead", "list", "--to", "2001-01-01")
    assert "no dead letter" in none


def test_a_mended_letter_is_sent_once_and_decided(folder, tmp_path, capsys):
    name, mended = "claims.filed/1/3", tmp_path / "mended.json"
    assert run(folder, "dead", "show", name, "--out", str(mended)) == 0
    assert mended.read_bytes() == b'{"claim_id"'
    mended.write_bytes(claim(50) + b"\n")
    before = filed(folder)
    dry = json.loads(asked(folder, capsys, "dead", "resend", name, "--with", str(mended), "--json"))
    assert (dry["would_send"], dry["sent"], filed(folder)) == ([name], [], before)
    for sent in ([name], []):  # again: not once more
        words = ["dead", "resend", name, "--with", str(mended), "--yes", "--json"]
        assert json.loads(asked(folder, capsys, *words))["sent"] == sent
    (new,) = [each for each in filed(folder) if each not in before]
    assert (new.key, new.value, new.partition) == (b"pol-1", claim(50), 1)
    assert resent_id(new.headers) == name
    assert "sent again" in asked(folder, capsys, "dead", "list")
    assert run(folder, "stream", "--until-end") == 0
    assert "c-50" in asked(folder, capsys, "decisions", "list")
    assert run(folder, "verify", "--json") == 0


def test_what_would_be_refused_again_stays(folder, capsys):
    before = filed(folder)
    told = json.loads(asked(folder, capsys, "dead", "resend", "--all", "--yes", "--json"))
    assert (told["sent"], len(told["left_out"])) == ([], 3)
    assert filed(folder) == before


KILLED = """
import os, signal, sys
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from cli.commands.read import resending
after, real = int(sys.argv[1]), EmbeddedLog.append
resending._AT_ONCE = 2
resending._gate = lambda workspace: lambda sent: ""
calls = 0
def append(self, records, **more):
    global calls
    done = real(self, records, **more)
    calls += 1
    if calls == after:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
EmbeddedLog.append = append
from cli.__main__ import main
sys.exit(main(["--folder", sys.argv[2], "dead", "resend", "--all", "--yes", "--json"]))
"""


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_letter_is_sent_once_though_the_command_is_killed(folder, after):
    command = [sys.executable, "-c", KILLED, str(after), str(folder)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = subprocess.run([*command[:3], "0", str(folder)], cwd=ROOT, capture_output=True,
                           check=True)  # fmt: skip
    # two letters are a commit: the first two are whole or not there, the third comes by itself
    assert len(json.loads(again.stdout)["sent"]) == (1 if after == 3 else 3)
    names = [resent_id(each.headers) for each in filed(folder) if each.headers]
    assert sorted(names) == [f"claims.filed/{n}/3" for n in range(3)]


def test_top_in_a_pipe_is_one_plain_view(decided, capsys):
    shown = asked(decided, capsys, "top", "--once", "--worker", "127.0.0.1:9")
    assert "\x1b" not in shown
    for words in ("claims.filed", "the last 12 decisions", "127.0.0.1:9", "not reachable",
                  "no alert of drift"):  # fmt: skip
        assert words in shown
    assert ["claims.dead", "3", "0"] in [line.split()[:3] for line in shown.splitlines()]


def test_top_fits_a_small_terminal_and_ends_by_ctrl_c(decided):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "claimtrace", "--folder", str(decided), "top", "--every",
               "200ms"]  # fmt: skip
    size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
                          env={**os.environ, **size}) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while shown.count(b"no alert of drift") < 2:  # the view was drawn twice
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:  # the other side is closed
            pass
        assert process.wait(60) == 0
    os.close(ours)
    assert b"Traceback" not in shown
    assert shown.rstrip().endswith(b"\x1b[?1049l")  # the first screen is back
