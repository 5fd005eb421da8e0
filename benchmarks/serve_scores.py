"""Measure `POST /v1/scores` beside MLServer and BentoML with the same model, in one run.

    python -m benchmarks.serve_scores                     a table
    python -m benchmarks.serve_scores --json              the same for a program
    python -m benchmarks.serve_scores --servers claimtrace mlserver

Every answer's body is checked. CPU is that of all processes of a server, so that it depends less
than the clock on other load on the machine; the client's isn't counted. The peers get 40 numbers
that are ready and predict; claimtrace gets a claim of 1.1 kB, decodes it, counts 20 windows,
scores, applies rules and explains the claims that it would refer.

    G1  CPU a claim at 32 connections <= 0.35 of MLServer's with adaptive batching
    G2  CPU a claim at 32 connections <= 1/8 of that at one
    G4  median CPU of a lone look <= 1.5 of that of a lone decision
    G6  a full stream beside 1,000 looks a second >= 0.9 of its rate without them
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.beside_looks import lone_looks, stream_beside_looks
from benchmarks.canonical import DOMAIN, events
from benchmarks.champion import NAME
from benchmarks.command import command, say
from benchmarks.http_load import Check, Loaded, load
from benchmarks.peers.environments import environment
from benchmarks.processes import tree_cpu_of
from benchmarks.worker import ROOT, end
from claimtrace.errors import StateError
from claimtrace_examples.auto_claims import ClaimFiled
from models.kernels.forest import Forest
from models.registry.adapters.folder import FolderRegistry
from models.self_check import check_rows

OURS: Final = "claimtrace"
START_TIMEOUT_S: Final = 180
G1, G2, G4, G6 = 0.35, 1 / 8, 1.5, 0.9
BATCH_TIME_S: Final = 0.005
_MODEL: Final = "scores"
_ENCODE: Final = msgspec.json.Encoder().encode


class Server(NamedTuple):
    """A server that runs: its process, its port, and what is sent to it."""

    running: subprocess.Popen[bytes]
    port: int
    path: str
    bodies: Callable[[], Iterator[bytes]]
    check: Check


def claims(policies: int, after: int) -> Iterator[bytes]:
    """Yield claims without end; each has an id of its own that the engine doesn't know."""
    for at, each in enumerate(e for e in events(policies, 10**9) if e.topic == ClaimFiled.topic):
        if at >= after:
            yield each.value


def check_ours(status: int, request: bytes, answer: bytes) -> str:
    """Look at an answer: it is an advisory decision on the very claim that was sent."""
    claim_id = request[request.index(b'"claim_id"') :].split(b'"')[3]
    right = (
        status == 200
        and answer.startswith(b'{"advisory":true,')
        and b'"claim_id":"%b"' % claim_id in answer
        and b'"score":0.' in answer
    )
    return "" if right else f"{status} {answer[:300]!r}"


class Rows:
    """Rows of the model's features, with the probabilities that a peer must answer."""

    def __init__(self, models: Path, form: Callable[[list[float]], Any]) -> None:
        document = FolderRegistry(models, NAME).load(1).model_json
        forest = Forest.from_xgboost_json(document)
        rows = np.nan_to_num(check_rows(forest, 256)).clip(-1e9, 1e9).astype(np.float32)
        margins = forest.margins(rows.astype(np.float64))
        self._bodies = [_ENCODE(form(row.tolist())) for row in rows]
        scores = 1 / (1 + np.exp(-margins.astype(np.float64)))
        self._expected = dict(zip(self._bodies, scores.tolist(), strict=True))

    def bodies(self) -> Iterator[bytes]:
        """Yield the rows over and over."""
        while True:
            yield from self._bodies

    def check(self, find: Callable[[Any], float]) -> Check:
        """Return a check of the probability that `find` finds in an answer."""

        def check(status: int, request: bytes, answer: bytes) -> str:
            try:
                right = status == 200 and (
                    abs(find(msgspec.json.decode(answer)) - self._expected[request]) < 1e-4
                )
            except (ValueError, LookupError, TypeError):
                right = False
            return "" if right else f"{status} {answer[:300]!r}"

        return check


def ours(models: Path, folder: Path, port: int, policies: int, warm: int) -> Server:
    """Start our server."""
    line = [sys.executable, "-m", "benchmarks.scores_server", str(port), str(models),
            str(policies), str(warm)]  # fmt: skip
    return Server(_started(line, folder, {}), port, "/v1/scores", lambda: claims(policies, warm),
                  check_ours)  # fmt: skip


def mlserver(
    models: Path,
    folder: Path,
    port: int,
    policies: int,  # noqa: ARG001
    warm: int,  # noqa: ARG001
    *,
    batching: bool = True,
) -> Server:
    """Start MLServer, with its adaptive batching or without."""
    python = environment("mlserver")
    (folder / "settings.json").write_bytes(_ENCODE({
        "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
        "parallel_workers": 0, "debug": False, "metrics_endpoint": None,
    }))  # fmt: skip
    batches = {"max_batch_size": 256, "max_batch_time": BATCH_TIME_S} if batching else {}
    (folder / "model-settings.json").write_bytes(_ENCODE({
        "name": _MODEL, "implementation": "benchmarks.peers.mlserver_model.Booster",
        "parameters": {"uri": str(_document(models))}, **batches,
    }))  # fmt: skip
    line = [str(python.parent / "mlserver"), "start", str(folder)]
    rows = Rows(models, lambda row: {"inputs": [
        {"name": "rows", "shape": [1, len(row)], "datatype": "FP32", "data": row}]})  # fmt: skip
    return Server(_started(line, folder, {}), port, f"/v2/models/{_MODEL}/infer", rows.bodies,
                  rows.check(lambda answer: answer["outputs"][0]["data"][0]))  # fmt: skip


def plain_mlserver(models: Path, folder: Path, port: int, policies: int, warm: int) -> Server:
    """Start MLServer without batching."""
    return mlserver(models, folder, port, policies, warm, batching=False)


def bentoml(models: Path, folder: Path, port: int, policies: int, warm: int) -> Server:  # noqa: ARG001
    """Start BentoML, which batches what comes together."""
    python = environment("bentoml")
    line = [str(python.parent / "bentoml"), "serve", "benchmarks.peers.bento_service:Scores",
            "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    more = {"PEER_MODEL": str(_document(models)), "BENTOML_HOME": str(folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True"}  # fmt: skip
    rows = Rows(models, lambda row: {"rows": [row]})
    return Server(_started(line, folder, more), port, "/score", rows.bodies,
                  rows.check(lambda answer: answer[0]))  # fmt: skip


SERVERS: Final[dict[str, Callable[[Path, Path, int, int, int], Server]]] = {
    OURS: ours, "mlserver": mlserver, "mlserver-plain": plain_mlserver, "bentoml": bentoml,
}  # fmt: skip


def _document(models: Path) -> Path:
    return models / NAME / "000001" / "model.json"


def _started(line: list[str], folder: Path, more: dict[str, str]) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    said = (folder / "said").open("wb")
    return subprocess.Popen(line, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=said,
                            stderr=said, start_new_session=True)  # fmt: skip


@contextmanager
def started(name: str, models: Path, port: int, policies: int, warm: int) -> Iterator[Server]:
    """Start a server, wait until it answers rightly, and end it."""
    with TemporaryDirectory() as made:
        server = SERVERS[name](models, Path(made), port, policies, warm)
        try:
            _wait(name, server, Path(made))
            yield server
        finally:
            end(server.running)


def _wait(name: str, server: Server, folder: Path) -> None:
    """Wait for the first right answer.

    Raises:
        StateError: the server ended, or doesn't answer in time.
    """
    until_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            load(server.port, server.path, server.bodies(), 1, 0.1, server.check)
            return
        except (OSError, StateError) as error:
            words = " ".join((folder / "said").read_text(errors="replace").split())[-600:]
            if server.running.poll() is not None:
                raise StateError(f"{name} ended: {words}") from error
            if time.monotonic() > until_s:
                raise StateError(f"{name} doesn't answer: {error}; {words}") from error
            time.sleep(0.5)


def measured(server: Server, connections: int, seconds: float) -> dict[str, float]:
    """Load a server; returns requests, CPU a request in microseconds, and times."""
    bodies = server.bodies()
    load(server.port, server.path, bodies, connections, seconds / 4, server.check)
    before_s = tree_cpu_of(server.running.pid)
    found: Loaded = load(server.port, server.path, bodies, connections, seconds, server.check)
    cpu_s = tree_cpu_of(server.running.pid) - before_s
    return {
        "requests": found.requests,
        "cpu_us": 1e6 * cpu_s / found.requests,
        "per_s": found.requests / found.seconds,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
    }


def run(
    models: Path, *, servers: list[str], connections: tuple[int, ...], seconds: float,
    policies: int, warm: int, port: int, looks: int,
) -> dict[str, Any]:  # fmt: skip
    """Measure one server after the other, then a lone look and a full stream beside looks."""
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for at, name in enumerate(servers):
        say(f"{name} ...")
        try:
            with started(name, models, port + 10 * at, policies, warm) as server:
                found[name] = {str(n): measured(server, n, seconds) for n in connections}
        except StateError as error:  # the others are measured nevertheless
            say(str(error))
            failed[name] = str(error)
    say("a lone look, and a full stream beside looks ...")
    lone = lone_looks(models, policies=policies, warm=min(warm, 2_000), claims=looks)
    beside = stream_beside_looks(models, policies=policies, warm=warm, rate=1_000)
    return {"found": found, "lone": lone, "beside": beside,
            "goals": goals(found, lone, beside), "failed": failed}  # fmt: skip


def goals(
    found: dict[str, dict[str, Any]], lone: dict[str, float], beside: dict[str, float]
) -> dict[str, list[float]]:
    """Compare with the goals; returns figure and limit of each that was measured.

    >>> few = {"claimtrace": {"1": {"cpu_us": 1600.0}, "32": {"cpu_us": 160.0}}}
    >>> goals(few, {"ratio": 1.2}, {"ratio": 0.95})["G2"]
    [0.1, 0.125]
    """
    ratios: dict[str, list[float]] = {"G4": [lone["ratio"], G4], "G6": [beside["ratio"], G6]}
    own = found.get(OURS, {})
    if "32" in own and "32" in found.get("mlserver", {}):
        ratios["G1"] = [own["32"]["cpu_us"] / found["mlserver"]["32"]["cpu_us"], G1]
    if {"1", "32"} <= own.keys():
        ratios["G2"] = [own["32"]["cpu_us"] / own["1"]["cpu_us"], G2]
    return dict(sorted(ratios.items()))


def show(found: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print("server          connections   requests   CPU us/request   requests/s   p50 ms   p99 ms")
    for name, each in found["found"].items():
        for connections, one in each.items():
            print(f"{name:15s} {connections:>11s} {one['requests']:10,.0f} {one['cpu_us']:16.0f}"
                  f" {one['per_s']:12,.0f} {one['p50_ms']:8.1f} {one['p99_ms']:8.1f}")  # fmt: skip
    lone, beside = found["lone"], found["beside"]
    print(f"\na lone look {lone['look_ms']:.2f} ms of CPU, a decision {lone['step_ms']:.2f} ms")
    print(f"a full stream: {beside['alone_us']:.1f} us an event, beside {beside['rate']:,.0f} looks"
          f" a second {beside['beside_us']:.1f} us")  # fmt: skip
    for name, (figure, limit) in found["goals"].items():
        sign = ">=" if name == "G6" else "<="
        print(f"{name}  {figure:.3f} {sign} {limit:.3f}")
    print(f"\n{DOMAIN.name}: {len(DOMAIN.features)} features; loopback, one client process")


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        servers=(list(SERVERS), "servers to measure; G1 needs claimtrace and mlserver"),
        connections=((1, 32), "connections at once"),
        seconds=(8.0, "seconds of each load"),
        policies=(200_000, "policies, each with one claim a year"),
        warm=(20_000, "events in the windows before measuring"),
        port=(18_470, "the first port of the servers, ten apart"),
        looks=(2_000, "lone decisions; half as many lone looks"),
    )  # fmt: skip
