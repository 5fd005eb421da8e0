"""Compare claimtrace with other stream processors on a real Kafka broker.

    python -m benchmarks.peers_rate                          a table
    python -m benchmarks.peers_rate --json                   the same for a program
    python -m benchmarks.peers_rate --peers claimtrace plain   some of them

Each program reads claims from one topic and writes decisions to another, with acknowledgement. All
get the same bytes and the same model, run one after the other, and are measured in the same way
from another process: the decisions on the output topic, and the CPU of all threads, from the end of
the warm-up to the end of the run. CPU an event is the figure to compare, as it depends less than
the clock on other load on the machine.

Each peer uses the fastest known ways to decode, compute features and encode (see
`benchmarks.peers.job`). Features that a peer can't compute are left out and named in the table, so
such a peer does less work for its figure. The peers have one partition, so events come in order and
need no merge. claimtrace runs as `claimtrace stream` on four partitions, without compression, like
the peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from benchmarks.canonical import Sent, events
from benchmarks.champion import NAME, REFERRED_RATIO
from benchmarks.command import command, say
from benchmarks.kafka_rate import fill_topics, make_topics
from benchmarks.outputs import KafkaOutputs
from benchmarks.peers.environments import environment, newer_python
from benchmarks.peers.job import Job
from benchmarks.processes import Stretch, Watched, peak_of, stretch
from benchmarks.worker import ROOT, end, make_champion_current, worker
from claimtrace.errors import StateError
from claimtrace.events import Outgoing
from claimtrace.settings.schema import Settings
from claimtrace_examples.auto_claims import ClaimFiled
from producers.adapters.kafka import KafkaSink
from tests.servers.kafka import Cluster
from tests.servers.topics import create_topics

SOURCE: Final = "peers.claims"
OURS: Final = "claimtrace"
QUICK_TIMES: Final = 10
"""Factor on the number of events for programs that work in batches, claimtrace among them. With
fewer events a measurement would be too short, and without appends to the offline store."""


class Peer(NamedTuple):
    """How to run a peer, and what part of the job it leaves out."""

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
    """Produce all events to one partition, in order."""
    sink = KafkaSink(settings.kafka_connection)
    for start in range(0, len(sent), 20_000):
        sink.send([Outgoing(SOURCE, 0, key.encode(), value, log_time_ms)
                   for _, key, value, log_time_ms in sent[start : start + 20_000]])  # fmt: skip
    sink.flush(120)
    sink.close()


class Bench(NamedTuple):
    """The broker with its input topics, and the sizes of the measurement."""

    cluster: Cluster
    folder: Path
    models: Path
    policies: int
    warm: int
    events: int
    seconds: float
    events_a_claim: float


def measure_ours(bench: Bench) -> dict[str, Any]:
    """Measure `claimtrace stream` on four partitions, with all its features enabled."""
    broker, bootstrap = bench.cluster.brokers[0].pid, bench.cluster.bootstrap
    with (
        closing(KafkaOutputs(bootstrap)) as outputs,
        worker(bench.folder / OURS, bench.models, bench.policies, source=f"kafka://{bootstrap}",
               broker=broker) as running,
    ):  # fmt: skip
        found = watch(running, outputs, bench, QUICK_TIMES)
    counts = json.loads((bench.folder / OURS / "said").read_text())["counts"]
    return {**found, "referred_ratio": counts["referred"] / counts["claims"]}


def measure_peer(name: str, python: Path, bench: Bench) -> dict[str, Any]:
    """Measure a peer, and add the figures that it prints at its end.

    Raises:
        StateError: the peer failed, printed no figures, or decided on more claims than it put out.
    """
    topic = f"peers.{name}"
    create_topics(bench.cluster.bootstrap, {topic: 1})
    with closing(KafkaOutputs(bench.cluster.bootstrap, topic)) as outputs:
        with started(name, python, bench) as running:
            found = watch(running, outputs, bench, PEERS[name].times)
        came_out = outputs.count()
    said = parse(name, (bench.folder / name / "said").read_text(), running.last_words())
    if came_out < said["emitted"]:
        raise StateError(f"{name} decided on {said['emitted']} claims, {came_out} came out")
    return {**found, **said}


@contextmanager
def started(name: str, python: Path, bench: Bench) -> Iterator[Watched]:
    """Start a peer in a folder of its own; at the end it gets a SIGTERM."""
    peer, own = PEERS[name], bench.folder / name
    own.mkdir()
    job = Job(
        bootstrap=bench.cluster.bootstrap,
        source=SOURCE,
        output=f"peers.{name}",
        model=str(bench.models / NAME / "000001" / "model.json"),
        referred_ratio=REFERRED_RATIO,
        folder=str(own / "state"),
    )
    path = own / "job.json"
    path.write_bytes(msgspec.json.encode(job))
    line = [str(python), "-m", f"benchmarks.peers.{peer.module}", *peer.arguments, str(path)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}  # one core's work on one core
    if peer.module == "faust_worker":  # its command line is Faust's own
        line.pop()
        environ["PEER_JOB"] = str(path)
    with (own / "said").open("wb") as said, (own / "errors").open("wb") as errors:
        running = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=errors,
                                   env=environ, cwd=ROOT, start_new_session=True)  # fmt: skip
        try:
            yield Watched(name, running, own / "errors", bench.cluster.brokers[0].pid)
        finally:
            end(running)


def watch(running: Watched, outputs: KafkaOutputs, bench: Bench, times: int) -> dict[str, Any]:
    """Measure events, time and CPU from the end of the warm-up on, and peak memory."""
    warm = int(bench.warm * times / bench.events_a_claim)
    last = int((bench.warm + bench.events) * times / bench.events_a_claim)
    took: Stretch = stretch(running, outputs.count, warm, last, bench.seconds)
    measured = took.done * bench.events_a_claim
    return {
        "events": round(measured),
        "wall_s": took.wall_s,
        "cpu_s": took.cpu_s,
        "broker_us_per_event": 1e6 * took.broker_s / measured,
        "peak_mb": peak_of(running.running.pid),
    }


def parse(name: str, said: str, errors: str = "") -> dict[str, Any]:
    """Read the figures that a peer printed: the last line of JSON, as Faust prints banners too.

    Raises:
        StateError: there are no figures; the end of the peer's standard error is quoted.

    >>> parse("plain", 'starting\\n{"emitted": 10}\\n')["emitted"]
    10
    """
    try:
        lines = [line for line in said.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1])
        if found["emitted"] > 0:
            return found
    except (ValueError, LookupError):
        pass
    raise StateError(f"{name} said nothing: {errors[-300:]}")


def with_rates(found: dict[str, Any], ours: dict[str, Any] | None = None) -> dict[str, Any]:
    """Add events a second, events a second and core, CPU an event, and the ratio to claimtrace.

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
    """Find the interpreter of each peer; a peer whose newer Python isn't found is left out.

    Raises:
        PeerMissing: a peer can't be installed.
    """
    found = {}
    for name in names:
        peer = PEERS[name]
        python = newer_python(newer) if peer.newer else sys.executable
        if not python:
            say(f"{name} is left out: no Python 3.12 or newer found (--newer PATH)")
            continue
        found[name] = environment(peer.requirements, python) if peer.requirements else Path(python)
    return found


def run(
    models: Path,
    *,
    policies: int,
    warm: int,
    events_each: int,
    seconds: float,
    peers: list[str],
    newer: str,
) -> dict[str, Any]:
    """Install the peers, start a broker, fill its topics, measure one program after the other."""
    interpreters = pythons([name for name in peers if name != OURS], newer)
    make_champion_current(models)
    total = (warm + events_each) * QUICK_TIMES
    total += total // 20  # a program may do more before the last look
    sent = list(islice(events(policies, total), total))
    claims = sum(each.topic == ClaimFiled.topic for each in sent)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with TemporaryDirectory() as name, Cluster(Path(name) / "broker") as cluster:
        say("filling the input topics ...")
        settings = Settings(source=f"kafka://{cluster.bootstrap}")
        create_topics(cluster.bootstrap, {SOURCE: 1})
        fill_source(settings, sent)
        make_topics(cluster)
        fill_topics(settings, sent)
        bench = Bench(cluster, Path(name), models, policies, warm, events_each, seconds,
                      total / claims)  # fmt: skip
        work: dict[str, Callable[[], dict[str, Any]]] = {OURS: lambda: measure_ours(bench)}
        for peer, python in interpreters.items():
            work[peer] = partial(measure_peer, peer, python, bench)
        for each in (each for each in peers if each in work):
            say(f"{each} ...")
            try:
                found[each] = with_rates(work[each](), found.get(OURS))
            except StateError as error:  # the other programs are measured nevertheless
                say(str(error))
                failed[each] = str(error)
    return {
        "policies": policies,
        "value_bytes": float(np.mean([len(each.value) for each in sent])),
        "found": found,
        "less": {name: PEERS[name].less for name in found if name != OURS},
        "failed": failed,
    }


def show(found: dict[str, Any], write: Callable[[str], None] = print) -> None:
    """Print the figures as a table, and below it the work that each peer leaves out."""
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


if __name__ == "__main__":
    command(
        __doc__ or "", run, show,
        policies=(20_000, "policies, each with one claim a year"),
        warm=(6_000, f"events before measuring; {QUICK_TIMES} times as many for the quick ones"),
        events_each=(20_000, f"events measured; {QUICK_TIMES} times as many for the quick ones"),
        seconds=(30.0, "the most that a warm-up, and then a measurement, may take"),
        peers=([OURS, *PEERS], "programs to measure; ratios need claimtrace"),
        newer=("", "a Python 3.12 or later, for plain-newer"),
    )  # fmt: skip
