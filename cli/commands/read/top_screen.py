"""The live view as lines of text: what two looks at the sources say, fitted to a screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from rich.text import Text

from claimtrace.decisions import ALERTS_TOPIC, DEAD_TOPIC, DECISIONS_TOPIC
from serving.reading.worker_figures import WorkerFigures, nearest_rank, rate

from ...console import safe
from ...times import when
from .decision_screen import COLORS
from .top_sources import Sample

_BAR: Final = 24
_FIXED_LINES: Final = 18
"""Lines of the view beside those of workers."""


def lines_of(title: str, before: Sample, now: Sample, width: int, height: int) -> list[Text]:
    """Return the view as lines; those of workers that don't fit are counted.

    Args:
        title: names the log.
        before, now: two looks; rates are of the time in between.
        width, height: of the screen, in characters and lines.
    """
    lines = [
        _line(f"[bold]claimtrace top[/]  {safe(title)}  [dim]{when(now.now_ms)} UTC[/]"),
        Text(),
    ]
    lines += _topics(before, now)
    lines += [Text(), *_decisions(now), Text()]
    lines += _workers(before, now, max(1, height - _FIXED_LINES))
    lines += [Text(), _alerts(now)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _line(markup: str) -> Text:
    return Text.from_markup(markup)


def _topics(before: Sample, now: Sample) -> list[Text]:
    if not now.ends:
        return [_line("[dim]a Kinesis stream has no count of its records: see the workers[/]")]
    seconds = now.at_s - before.at_s
    lines = [_line(f"[dim]{'topic':<24}{'records':>14}{'a second':>12}{'waiting':>12}[/]")]
    for topic, end in now.ends.items():
        lag = now.lags.get(topic)
        color = "red" if topic == DEAD_TOPIC and end > before.ends.get(topic, end) else "default"
        lines.append(_line(
            f"[{color}]{safe(topic):<24}{end:>14,}"
            f"{_number(rate(end, before.ends.get(topic, end), seconds)):>12}"
            f"{'' if lag is None else f'{lag:,}':>12}[/]"
        ))  # fmt: skip
    if "" in now.lags:
        lines.append(_line(f"{'records that wait':<24}{'':>26}{now.lags['']:>12,}"))
    return lines


def _decisions(now: Sample) -> list[Text]:
    count = len(now.decisions)
    if not count:
        return [_line("[dim]no decision yet[/]")]
    outcomes = Counter(row.outcome for row in now.decisions)
    newest = max(now.decisions, key=lambda row: row.order)
    model = "rules alone" if newest.model is None else f"{newest.model}/{newest.model_version}"
    lines = [_line(f"[dim]the last {count:,} decisions, model {safe(model)}[/]")]
    for outcome in sorted(COLORS, key=list(COLORS).index, reverse=True):
        share = outcomes[outcome] / count
        bar = "#" * round(_BAR * share)
        lines.append(_line(
            f"{outcome:<10}[{COLORS[outcome]}]{bar:<{_BAR}}[/]{share:>8.1%}{outcomes[outcome]:>8,}"
        ))  # fmt: skip
    halves = nearest_rank(now.latencies_ms, 0.5), nearest_rank(now.latencies_ms, 0.99)
    if halves[0] is not None:
        lines.append(
            _line(f"claim to decision on the log: p50 {halves[0]:,} ms, p99 {halves[1]:,} ms")
        )
    else:
        lines.append(_line(f"newest claim {safe(newest.claim_id)} of {when(newest.log_time_ms)}"))
    return lines


def _workers(before: Sample, now: Sample, most: int) -> list[Text]:
    if not now.workers:
        return [_line("[dim]no worker's metrics: give --worker host:port, or metrics.listen[/]")]
    head = f"{'worker':<22}{'':<9}{'rec/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'lag':>9}{'parts':>6}"
    lines = [_line(f"[dim]{head}{'pauses':>8}[/]")]
    shown = list(now.workers.items())
    for address, found in shown[:most]:
        lines.append(_line(_worker(address, found, before.workers, now.at_s - before.at_s)))
    if len(shown) > most:
        lines.append(_line(f"[dim]and {len(shown) - most} more workers[/]"))
    return lines


def _worker(
    address: str,
    found: WorkerFigures | str,
    before: Mapping[str, WorkerFigures | str],
    seconds: float,
) -> str:
    name = f"{safe(address[-21:]):<22}"
    if isinstance(found, str):
        return f"{name}[red]{safe(found)}[/]"
    earlier = before.get(address)
    was = earlier if isinstance(earlier, WorkerFigures) else WorkerFigures()
    batches = found.batches.since(was.batches)
    if batches.quantile(0.5) is None:  # nothing since: those of its whole life
        batches = found.batches
    state = "[green]ready[/]    " if found.is_ready else "[yellow]waiting[/]  "
    speed = rate(found.records, was.records, seconds) if earlier is not None else None
    return (
        f"{name}{state}{_number(speed):>8}{_ms(batches.quantile(0.5)):>8}"
        f"{_ms(batches.quantile(0.99)):>8}{found.lag:>9,.0f}{found.owned:>6.0f}{found.pauses:>8.0f}"
    )


def _alerts(now: Sample) -> Text:
    count = now.ends.get(ALERTS_TOPIC, 0)
    if now.alert:
        return _line(f"[yellow]{count:,} alerts; the newest:[/] {safe(now.alert)}")
    known = DECISIONS_TOPIC in now.ends
    return _line("[dim]no alert of drift[/]" if known else "[dim]alerts: claims.alerts has them[/]")


def _number(value: float | None) -> str:
    return (
        "-" if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f}"


def plain(lines: Iterable[Text]) -> str:
    """Return the view without colours, for a pipe."""
    return "\n".join(line.plain.rstrip() for line in lines) + "\n"
