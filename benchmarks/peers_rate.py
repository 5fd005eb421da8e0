"""The canonical workload on a real Kafka broker: claimtrace and what else one could take, in turn.

    python -m benchmarks.peers_rate                          a table
    python -m benchmarks.peers_rate --json                   the same for a program
    python -m benchmarks.peers_rate --peers claimtrace plain   some of them

Each gets the same bytes and the same model, and is a program of its own that takes claims from a
topic and puts decisions on another, acknowledged. Each peer has the quickest decode, features and
encode that is known (`benchmarks.peers.job`); what it can't do is left out and said in the table,
so a peer that does less is flattered. The peers get one partition: everything in the order in which
it happened, nothing to merge. What counts is CPU an event, of all of the program's threads: it
bears neighbours on the machine better than the clock does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from claimtrace.errors import StateError
from claimtrace.events import Outgoing
from claimtrace.models.scorer import Scorer
from claimtrace.settings import Settings
from producers.adapters.kafka import KafkaSink
from stream.adapters.collector import rare_collections
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics, read_topic

from .canonical import Sent, events
from .champion import NAME, REFERRED_RATIO, make_champion, open_line
from .kafka_rate import RoundTrips, cpu_of, fill_topics, kafka_driver, make_topics, measure
from .peers.environments import PeerMissing, environment, last_line, newer_python
from .peers.job import Job

SOURCE: Final = "peers.claims"
OURS: Final = "claimtrace"
OUR_BATCH: Final = 500
QUICK_TIMES: Final = 4
"""So many times as many events for those that go by batches, us among them: else a measurement
would be over too soon to be one."""

SPARE: Final = 4_000
"""Left on the log at the end: a warm-up ends with a whole batch, beyond what it was told."""

START_TIMEOUT_S: Final = 240


class Peer(NamedTuple):
    """How to run one, and what it leaves out of the job."""

    module: str
    less: str
    requirements: str = ""
    arguments: tuple[str, ...] = ()
    newer: bool = False
    times: int = 1


PEERS: Final = {
    "plain": Peer(
        "plain_loop",
        "all 40 features; no journal, snapshots, late claims, duplicates, drift, rules, rows",
        times=QUICK_TIMES,
    ),
    "plain-newer": Peer(
        "plain_loop", "the same on the newest XGBoost, which needs Python 3.12", "plain",
        newer=True, times=QUICK_TIMES,
    ),
    "floor": Peer(
        "plain_loop", "decode, predict and produce alone: no windows, no reasons",
        arguments=("--floor",), times=QUICK_TIMES,
    ),
    "quix": Peer(
        "quix_worker", "23 features: only the policy's windows, from a list in its state", "quix"
    ),
    "quix-sliding": Peer(
        "quix_worker", "21 features: one sliding window of the policy, current claim in it",
        "quix", ("--sliding",),
    ),
    "faust": Peer(
        "faust_worker", "23 features: only the policy's windows, from a list in a table", "faust",
        ("worker", "--without-web", "-l", "warn"),
    ),
    "feast": Peer(
        "feast_loop", "totals of five entities that never forget: no windows at all", "feast"
    ),
}  # fmt: skip


def fill_source(settings: Settings, sent: list[Sent]) -> None:
    """All events on one partition, in their order."""
    sink = KafkaSink(settings)
    for start in range(0, len(sent), 20_000):
        sink.send([Outgoing(SOURCE, 0, key.encode(), value, log_time_ms)
                   for _, key, value, log_time_ms in sent[start : start + 20_000]])  # fmt: skip
    sink.flush(120)
    sink.close()


def measure_ours(
    cluster: Cluster, folder: Path, scorer: Scorer, sent: list[Sent], policies: int, warm: int
) -> dict[str, Any]:
    """A worker with everything on, on four partitions; the journal in Kafka."""
    done = len(sent) - warm - SPARE
    settings = Settings(source=f"kafka://{cluster.bootstrap}")
    line = open_line(folder, policies, scorer, durable=True)
    make_topics(cluster)
    fill_topics(settings, sent)
    with rare_collections():
        driver = kafka_driver(line, settings, RoundTrips())
        measure(driver, warm, OUR_BATCH)
        found = measure(driver, done, OUR_BATCH, cluster.brokers[0].pid or 0)
        counts = driver.counts
        driver.finish()
    line.close()
    return {
        "events": done,
        "wall_s": done / found["events_per_s"],
        "cpu_s": found["cpu_us_per_event"] * done / 1e6,
        "broker_us_per_event": found["broker_us_per_event"],
        "referred_ratio": counts.referred / counts.claims,
    }


def run_peer(
    name: str, python: Path, chosen: argparse.Namespace, cluster: Cluster, folder: Path
) -> dict[str, Any]:
    """Start one, wait for its end; what it measured of itself.

    Args:
        name: of the peer.
        python: its interpreter.
        chosen: how many events, and for how long at most.
        cluster: has the input; the output topic is made here.
        folder: has the model; the peer gets a folder of its own in it.

    Raises:
        StateError: it failed, said nothing, or didn't emit what it decided.
    """
    peer, output, own = PEERS[name], f"peers.{name}", folder / name
    create_topics(cluster.bootstrap, {output: 1})
    own.mkdir()
    path = own / "job.json"
    job = Job(
        bootstrap=cluster.bootstrap,
        source=SOURCE,
        output=output,
        model=str(folder / "models" / NAME / "000001" / "model.json"),
        referred_ratio=REFERRED_RATIO,
        warm=chosen.warm * peer.times,
        events=chosen.events * peer.times,
        seconds=chosen.seconds,
        folder=str(own / "state"),
    )
    path.write_bytes(msgspec.json.encode(job))
    command = [str(python), "-m", f"benchmarks.peers.{peer.module}", *peer.arguments, str(path)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}  # one core's work on one core
    if peer.module == "faust_worker":  # its command line is Faust's own
        command.pop()
        environ["PEER_JOB"] = str(path)
    pid = cluster.brokers[0].pid or 0
    broker_s = cpu_of(pid)
    said, errors = _carry_out(name, command, environ, START_TIMEOUT_S + 3 * chosen.seconds)
    broker_s = cpu_of(pid) - broker_s
    found = parse(name, said, errors)
    came_out = len(read_topic(cluster.bootstrap, output))
    if came_out < found["emitted"]:
        raise StateError(f"{name} decided on {found['emitted']} claims, {came_out} came out")
    return {**found, "broker_us_per_event": 1e6 * broker_s / found["emitted"]}


def _carry_out(
    name: str, command: list[str], environ: dict[str, str], limit_s: float
) -> tuple[str, str]:
    """What a peer said and complained of; ended when it takes too long."""
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env=environ, cwd=root
        )
    except subprocess.TimeoutExpired as error:
        raise StateError(f"{name} did not end in {limit_s:.0f} s") from error
    return done.stdout, done.stderr


def parse(name: str, said: str, errors: str = "") -> dict[str, Any]:
    """The figures in what a peer said: the last line that is JSON. Faust draws banners around it.

    Raises:
        StateError: there are none; the end of its errors is quoted.

    >>> parse("plain", 'starting\\n{"events": 10, "wall_s": 2.0, "cpu_s": 1.0}\\n')["events"]
    10
    """
    try:
        lines = [line for line in said.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1])
        if found["events"] > 0 and found["cpu_s"] > 0 and found["wall_s"] > 0:
            return found
    except (ValueError, LookupError):
        pass
    raise StateError(f"{name} measured nothing: {last_line(errors)[-300:]}")


def with_rates(found: dict[str, Any], ours: dict[str, Any] | None = None) -> dict[str, Any]:
    """Also events a second, events a second and core, CPU an event, and how many times ours.

    >>> with_rates({"events": 10, "wall_s": 2.0, "cpu_s": 1.0})["events_per_core_s"]
    10.0
    """
    rates = {
        "events_per_s": found["events"] / found["wall_s"],
        "events_per_core_s": found["events"] / found["cpu_s"],
        "cpu_us_per_event": 1e6 * found["cpu_s"] / found["events"],
    }
    if ours:
        rates["times_ours"] = rates["cpu_us_per_event"] * ours["events"] / (1e6 * ours["cpu_s"])
    return {**found, **rates}


def pythons(names: list[str], newer: str) -> dict[str, Path]:
    """The interpreter of each peer; those that ask for a newer one and find none are left out.

    Raises:
        PeerMissing: one can't be installed.
    """
    found = {}
    for name in names:
        peer = PEERS[name]
        python = newer_python(newer) if peer.newer else sys.executable
        if not python:
            say(f"{name} is left out: no Python 3.12 or newer found (--newer-python PATH)")
            continue
        found[name] = environment(peer.requirements, python) if peer.requirements else Path(python)
    return found


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything: install, train, start the broker, fill, measure one after the other."""
    interpreters = pythons([name for name in chosen.peers if name != OURS], chosen.newer_python)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("training the canonical model ...")
        scorer = make_champion(folder / "models")
        total = (chosen.warm + chosen.events) * QUICK_TIMES + SPARE
        sent = list(islice(events(chosen.policies, total), total))
        found: dict[str, Any] = {}
        failed: dict[str, str] = {}
        with Cluster(folder / "broker") as cluster:
            say("filling the input topic ...")
            create_topics(cluster.bootstrap, {SOURCE: 1})
            fill_source(Settings(source=f"kafka://{cluster.bootstrap}"), sent)
            if OURS in chosen.peers:
                say(f"{OURS} ...")
                found[OURS] = measure_ours(cluster, folder / OURS, scorer, sent, chosen.policies,
                                           chosen.warm * QUICK_TIMES)  # fmt: skip
            for peer, python in interpreters.items():
                say(f"{peer} ...")
                try:
                    found[peer] = run_peer(peer, python, chosen, cluster, folder)
                except StateError as error:  # the others are worth their time all the same
                    say(str(error))
                    failed[peer] = str(error)
    ours = found.get(OURS)
    return {
        "policies": chosen.policies,
        "value_bytes": float(np.mean([len(each.value) for each in sent])),
        "found": {name: with_rates(each, ours) for name, each in found.items()},
        "less": {name: PEERS[name].less for name in found if name != OURS},
        "failed": failed,
    }


def say(progress: str) -> None:
    """Tell a person who waits."""
    print(progress, file=sys.stderr, flush=True)


def show(found: dict[str, Any], write: Callable[[str], None] = print) -> None:
    """The figures as a table, and below it what each does less."""
    write(f"{found['policies']:,} policies, {found['value_bytes']:.0f} B an event;"
          " CPU of all threads of each; the broker's apart\n")  # fmt: skip
    write("              events   events/s   events/s and core   CPU us/event   broker us"
          "   referred   times ours")  # fmt: skip
    for name, each in found["found"].items():
        times = f"{each['times_ours']:12.1f}" if "times_ours" in each else ""
        write(f"{name:12s} {each['events']:7,.0f} {each['events_per_s']:10,.0f}"
              f" {each['events_per_core_s']:19,.0f} {each['cpu_us_per_event']:14.1f}"
              f" {each['broker_us_per_event']:11.1f} {100 * each['referred_ratio']:8.1f} %"
              f" {times}")  # fmt: skip
    write("")
    for name, less in found["less"].items():
        versions = found["found"][name].get("versions", {})
        write(f"{name:12s} {less}\n{'':12s} {', '.join(f'{k} {v}' for k, v in versions.items())}")


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="claimtrace and its peers on one workload.")
    parser.add_argument("--policies", type=int, default=20_000)
    parser.add_argument("--warm", type=int, default=6_000, help="events before measuring")
    parser.add_argument("--events", type=int, default=20_000, help="events measured, at most")
    parser.add_argument("--seconds", type=float, default=25.0, help="of a peer's measurement")
    parser.add_argument("--peers", nargs="+", choices=[OURS, *PEERS], default=[OURS, *PEERS])
    parser.add_argument("--newer-python", default="", help="for plain-newer; 3.12 or later")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        found = run(chosen)
    except (PeerMissing, StateError) as error:
        say(str(error))
        return error.exit_code
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return StateError.exit_code if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
