"""Make the tables of docs/benchmarks.md from the figures that `python -m benchmarks` wrote.

In the page each table is between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from benchmarks.plot import sizes_of

Figures = Any
"""The figures that a benchmark's `run` returned."""


def tables(found: dict[str, Any]) -> str:
    """Make all tables that have figures, each under its name as a heading."""
    made = rendered(found)
    return "\n\n".join(f"## {name}\n\n{made[name]}" for name in made)


def filled(page: str, found: dict[str, Any]) -> str:
    """Replace the tables of a page, where there are figures.

    >>> page = "<!-- table: lone -->\\nold\\n<!-- end -->"
    >>> filled(page, {"machine": {}, "parts": {}}) == page
    True
    """
    for name, table in rendered(found).items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        page = place.sub(lambda each, table=table: f"{each[1]}\n{table}\n{each[2]}", page)  # type: ignore[misc]
    return page


def rendered(found: dict[str, Any]) -> dict[str, str]:
    """Make the tables that have figures, by name."""
    made = {"machine": _machine(found)} if found["machine"] else {}
    for name, table in TABLES.items():
        if name in found["parts"]:
            made[name] = table(found["parts"][name]["figures"])
    return made


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a Markdown table.

    >>> print(table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, *rows]
    made = ["| " + " | ".join(each) + " |" for each in lines]
    return "\n".join([made[0], "|" + "---|" * len(head), *made[1:]])


def _machine(found: dict[str, Any]) -> str:
    here = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in here["packages"].items())
    about = (
        f"{here['processor']}, {here['cores']} cores, {here['memory_gb']:g} GB, {here['system']},"
        f" Python {here['python']}; {packages}."
    )
    rows = [
        (name, each["measured_at"], f"{each['seconds']} s", f"{each['cores_of_others']:.2f}")
        for name, each in found["parts"].items()
    ]
    head = ("part", "measured", "took", "cores that others used meanwhile")
    return about + "\n\n" + table(head, rows)


def _throughput(found: Figures) -> str:
    floors = found["floors_us"]
    rows = [
        (
            f"{each['batch']:.0f}",
            f"{each['events_per_s']:,.0f}",
            f"{each['events_per_core_s']:,.0f}",
            f"{each['cpu_us_per_event']:.1f}",
            f"{each['cpu_us_per_event'] / floors['floor']:.1f}",
            f"{each['p50_ms']:.1f} ms",
            f"{each['p99_ms']:.0f} ms",
        )
        for each in found["rates"]
    ]
    head = ("batch", "events/s", "events/s and core", "CPU us an event", "times the floor",
            "p50 of a batch", "p99")  # fmt: skip
    beside = [
        ("floor: decode, predict, produce", f"{floors['floor']:.1f}"),
        ("the same, and exact SHAP for 5 %", f"{floors['with_reasons']:.1f}"),
        ("the same on XGBoost's own predict and SHAP", f"{floors['xgboost']:.1f}"),
    ]
    return "\n\n".join([
        table(head, rows),
        table(("beside it, in the same run", "CPU us a claim"), beside),
        f"Peak memory {found['peak_mb']:,.0f} MB, libraries included; a snapshot takes"
        f" {found['snapshot_cpu_ms']:,.0f} ms of CPU, its share is in the figures.",
    ])  # fmt: skip


def _stages(found: Figures) -> str:
    sizes = list(found)
    stages = sorted(found[sizes[0]], key=lambda stage: -found[sizes[0]][stage])
    rows = [(stage, *(f"{found[size][stage]:.1f}" for size in sizes)) for stage in stages]
    rows.append(("all", *(f"{sum(found[size].values()):.1f}" for size in sizes)))
    return table(("stage", *(f"us at batches of {size}" for size in sizes)), rows)


def _lone(found: Figures) -> str:
    rows = [
        (what, f"{found[name]['p50_ms']:.2f} ms", f"{found[name]['p99_ms']:.2f} ms")
        for name, what in (("decided", "decided"), ("explained", "referred and explained"))
    ]
    return "\n\n".join([
        table(("a lone claim, in process", "p50", "p99"), rows),
        f"One row alone: {found['forest_row_us']:.1f} us in the forest,"
        f" {found['shap_row_us']:.0f} us for its exact SHAP values.",
    ])  # fmt: skip


def _explain(found: Figures) -> str:
    return table(
        ("rows explained at once", *(f"{each['rows']}" for each in found)),
        [("us a row", *(f"{each['us_per_row']:.1f}" for each in found))],
    )


_ENOUGH: Final = 1_000
"""Claims below which a p99.9 would be the slowest of them."""
LOGS: Final = {"local": "embedded log", "kafka": "Kafka"}


def _latency(found: Figures) -> str:
    rows = []
    for name, log in LOGS.items():
        if name not in found:
            continue
        full = found[name]
        rows.append((log, "full", f"{full['events_per_s']:,.0f}", "", "", "",
                     f"{full['cpu_us_per_event']:.1f}", _broker(name, full)))  # fmt: skip
        held = f"{full['beside_injector_per_s']:,.0f}"
        rows.append((log, "held beside the injector", held, "", "", "", "", ""))
        for load in full["loads"]:
            late = " (fell behind)" if load["behind_s"] > 1 else ""
            rows.append((
                log,
                f"{load['share']:.0%} of what is held",
                f"{load['planned_per_s']:,.0f}",
                f"{load['p50_ms']:,.1f} ms{late}",
                f"{load['p99_ms']:,.0f} ms",
                f"{load['p999_ms']:,.0f} ms",
                f"{load['cpu_us_per_event']:.1f}",
                _broker(name, load),
            ))  # fmt: skip
    head = ("log", "load", "events/s", "p50", "p99", "p99.9", "CPU us an event", "broker's CPU us")
    return table(head, rows)


def _human(found: Figures) -> str:
    rows = [
        (
            log,
            f"{load['claims_per_s']:,}",
            f"{load['claims']:,}",
            f"{load['p50_ms']:,.1f} ms",
            f"{load['p99_ms']:,.1f} ms",
            f"{load['p999_ms']:,.1f} ms" if load["claims"] >= _ENOUGH else "",
        )
        for name, log in LOGS.items()
        if name in found
        for load in found[name]["loads"]
    ]
    return table(("log", "claims/s", "claims counted", "p50", "p99", "p99.9"), rows)


def _broker(name: str, each: dict[str, float]) -> str:
    return f"{each['broker_us_per_event']:.1f}" if name == "kafka" else ""


def _kafka(found: Figures) -> str:
    rows = []
    for pair in found["pairs"]:
        for name, log in LOGS.items():
            each, trips = pair[name], pair["journal_ms"]
            is_kafka = name == "kafka"
            rows.append((
                f"{each['batch']:.0f}",
                log,
                f"{each['events_per_s']:,.0f}",
                f"{each['events_per_s'] / pair['local']['events_per_s']:.2f}",
                f"{each['cpu_us_per_event']:.1f}",
                _broker(name, each),
                f"{each['p50_ms']:.1f} ms",
                f"{each['p99_ms']:.0f} ms",
                f"{trips['p50']:.1f} ms" if is_kafka else "",
                f"{trips['p99']:.0f} ms" if is_kafka else "",
            ))  # fmt: skip
    head = ("batch", "log", "events/s", "ratio", "CPU us an event", "broker's CPU us",
            "p50 of a batch", "p99", "journal p50", "p99")  # fmt: skip
    return "\n\n".join([
        table(head, rows),
        f"Producing the canonical claims ran at {found['produced_per_s']:,.0f} records a second,"
        f" acknowledged.",
    ])  # fmt: skip


def _kinesis(found: Figures) -> str:
    rows = []
    for what, words in (("read", "read into columns"), ("write", "put")):
        ours, theirs = found[f"{what}_us"]["typed"], found[f"{what}_us"]["boto3"]
        rows += [
            (words, f"{ours:.1f}", f"{1e6 / ours:,.0f}", ""),
            (f"{words}, all by boto3", f"{theirs:.1f}", f"{1e6 / theirs:,.0f}",
             f"{1 - ours / theirs:.0%}"),
        ]  # fmt: skip
    for each in found["line"]:
        us = each["cpu_us_per_event"]
        rows.append((f"the whole worker, batches of {each['batch']}", f"{us:.1f}",
                     f"{1e6 / us:,.0f}", ""))  # fmt: skip
    head = ("client", "CPU us an event", "events/s and core", "share of boto3's own parser")
    return table(head, rows)


def _scale(found: Figures) -> str:
    sizes = sizes_of(found)
    first = sizes[0]["cpu_us_per_event"]
    rows = [{**each, "ratio": each["cpu_us_per_event"] / first} for each in sizes]
    parts = []
    for columns in (SCALE_COSTS, SCALE_TIMES):
        shown = [each for each in columns if all(each[0] in row for row in rows)]
        if len(shown) > 1:
            cells = [[form.format(row[name]) for name, _, form in shown] for row in rows]
            parts.append(table([head for _, head, _ in shown], cells))
    return "\n\n".join(parts)


SCALE_COSTS: Final = (
    ("live_entities", "live entities", "{:,}"),
    ("live_entity_events", "live entity-events", "{:,}"),
    ("cpu_us_per_event", "CPU us an event", "{:.1f}"),
    ("ratio", "ratio", "{:.2f}"),
    ("bytes_per_entity_event", "bytes an entity-event", "{:.1f}"),
    ("process_mb", "process grew by", "{:,.0f} MB"),
)
SCALE_TIMES: Final = (
    ("live_entities", "live entities", "{:,}"),
    ("snapshot_mb", "snapshot", "{:,.0f} MB"),
    ("snapshot_pause_cpu_ms", "its pause", "{:.1f} ms"),
    ("snapshot_batch_worst_cpu_ms", "longest batch meanwhile", "{:.0f} ms"),
    ("house_keeping_worst_slice_cpu_ms", "longest slice of house-keeping", "{:.1f} ms"),
    ("restart_events", "events of a restart", "{:,}"),
    ("restore_s", "restored in", "{:.1f} s"),
    ("restart_s", "there again in", "{:.1f} s"),
)
"""Name of the figure, heading, format; figures that `benchmarks.scale` lacks are left out."""


def _peers(found: Figures) -> str:
    rows = []
    for name, each in found["found"].items():
        versions = each.get("versions", {})
        said = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "confluent-kafka")
        rows.append((
            f"{name} ({said})" if said else name,
            f"{each['events_per_core_s']:,.0f}",
            f"{each['cpu_us_per_event']:,.1f}",
            f"{each['broker_us_per_event']:.1f}",
            f"{each['times_ours']:,.1f}" if "times_ours" in each else "1.0",
            found["less"].get(name, ""),
        ))  # fmt: skip
    head = ("", "events/s and core", "CPU us an event", "broker's CPU us", "times ours",
            "what it does less")  # fmt: skip
    return table(head, rows)


TABLES: Final[dict[str, Callable[[Figures], str]]] = {
    "throughput": _throughput,
    "stages": _stages,
    "lone": _lone,
    "explain": _explain,
    "latency": _latency,
    "human": _human,
    "kafka": _kafka,
    "kinesis": _kinesis,
    "scale": _scale,
    "peers": _peers,
}
