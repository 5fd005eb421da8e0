"""A stop that was asked for ends the process in time, whatever it is in, and not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stream.adapters.process import stop_signals
from stream.adapters.process.stop_signals import UNFINISHED, StopSignals
from stream.worker.retry import Call

ROOT = Path(__file__).resolve().parents[4]
LONG_S = 30.0


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the process would have been ended."""
    monkeypatch.setattr(stop_signals, "WAITING_S", 0.3)
    monkeypatch.setattr(stop_signals, "_CALL_S", 1.0)
    return []


def until_ended(ended: list[int]) -> list[int]:
    until_s = time.monotonic() + LONG_S
    while not ended and time.monotonic() < until_s:
        time.sleep(0.01)
    return ended[:1]


def test_without_a_stop_nothing_is_limited_and_the_handlers_come_back(ended: list[int]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals(ended.append) as stopping:
        stopping.call_of = lambda: Call(0.0, True)
        stopping.within(0.0)
        time.sleep(0.3)
        assert not stopping()
    assert not ended
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert "stop" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_is_in_no_call_is_waited_for(number: int, ended: list[int]) -> None:
    with StopSignals(ended.append) as stopping:
        os.kill(os.getpid(), number)
        assert stopping()
        time.sleep(1.5)
    assert not ended


@pytest.mark.parametrize("has_failed", [True, False])
def test_a_call_that_lasts_ends_it_with_work_left(has_failed: bool, ended: list[int]) -> None:
    with StopSignals(ended.append) as stopping:
        call = Call(time.monotonic(), has_failed)
        stopping.call_of = lambda: call
        os.kill(os.getpid(), signal.SIGTERM)
        assert until_ended(ended) == [UNFINISHED]


def test_a_start_that_lasts_ends_it_with_nothing_left(ended: list[int]) -> None:
    with StopSignals(ended.append) as stopping:
        stopping.within(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert until_ended(ended) == [0]


def test_the_time_counts_from_the_later_of_stop_and_call(ended: list[int]) -> None:
    with StopSignals(ended.append) as stopping:
        stopping.call_of = lambda: Call(0.0, False)  # began long ago
        os.kill(os.getpid(), signal.SIGTERM)
        stopping.call_of = lambda: None
        assert not ended


IN_C = """
import ctypes, os, sys, time
from stream.adapters.process.stop_signals import StopSignals
with StopSignals() as stopping:
    stopping.within(0.2)
    os.write(1, b"in")
    libc = ctypes.CDLL(None)
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        libc.sleep(60)  # a signal interrupts it, and no line of Python runs before it goes on
        if stopping():
            libc.sleep(60)
"""


def test_a_call_into_c_that_does_not_return_is_no_obstacle() -> None:
    ran = subprocess.Popen([sys.executable, "-c", IN_C], cwd=ROOT, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)  # fmt: skip
    try:
        assert ran.stdout is not None
        assert ran.stdout.read(2) == b"in"
        ran.send_signal(signal.SIGTERM)
        _, said = ran.communicate(timeout=LONG_S)
    finally:
        ran.kill()
    assert (ran.returncode, said) == (
        0,
        b"stopped: nothing was begun yet; run the same command again\n",
    )
