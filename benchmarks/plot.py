"""Draw the picture of docs/benchmarks.md: events a second and core against live entities.

The picture is SVG, written without a plotting library: a logarithmic axis for entities, a linear
axis from zero for the rate, and the lowest rate that is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 78, 46, 44, 52
BAR_RATIO: Final = 1.5
"""The most that an event may cost, as a multiple of its cost at the smallest size."""

STYLE: Final = (
    "text{font:13px sans-serif;fill:#333}.title{font-size:15px;font-weight:600}"
    ".axis{stroke:#888}.grid{stroke:#ddd}.bar{stroke:#c0392b;stroke-dasharray:6 4}"
    ".rate{fill:none;stroke:#1f6fb2;stroke-width:2.5}.dot{fill:#1f6fb2}.red{fill:#c0392b}"
)


def draw(found: Any, path: Path) -> None:
    """Write the picture of the figures of `benchmarks.scale` to a file."""
    path.write_text(svg(sizes_of(found)), encoding="utf-8")


def sizes_of(found: Any) -> list[dict[str, Any]]:
    """Find the sizes in the figures of `benchmarks.scale`: a list, or under the key `sizes`."""
    sizes: list[dict[str, Any]] = found if isinstance(found, list) else found["sizes"]
    return sizes


def svg(found: Sequence[dict[str, Any]]) -> str:
    """Draw the picture.

    Args:
        found: `live_entities` and `cpu_us_per_event` of each size.
    """
    points = sorted((each["live_entities"], 1e6 / each["cpu_us_per_event"]) for each in found)
    low = math.floor(math.log10(points[0][0]) + 0.01)
    high = max(math.ceil(math.log10(points[-1][0]) - 0.01), low + 1)
    step = _step(max(rate for _, rate in points))
    top = step * math.ceil(1.05 * max(rate for _, rate in points) / step)

    def x(entities: float) -> float:
        return LEFT + (math.log10(entities) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - rate / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text class="title" x="{LEFT}" y="24">Events a second and core, by live entities</text>',
    ]
    for tick in range(0, int(top) + 1, int(step)):
        parts.append(_line("grid", LEFT, y(tick), WIDTH - RIGHT, y(tick)))
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:,}", "end"))
    for power in range(low, high + 1):
        parts.append(
            _line("axis", x(10**power), HEIGHT - BOTTOM, x(10**power), HEIGHT - BOTTOM + 5)
        )
        parts.append(_text(x(10**power), HEIGHT - BOTTOM + 21, f"{10**power:,}"))
    parts.append(_line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "live entities"))
    bar = points[0][1] / BAR_RATIO
    parts.append(_line("bar", LEFT, y(bar), WIDTH - RIGHT, y(bar)))
    words = f"the bar: {BAR_RATIO} times the cost of the smallest"
    parts.append(f'<text class="red" x="{LEFT + 8}" y="{y(bar) - 6:.1f}">{words}</text>')
    line = " ".join(f"{x(entities):.1f},{y(rate):.1f}" for entities, rate in points)
    parts.append(f'<polyline class="rate" points="{line}"/>')
    for at, (entities, rate) in enumerate(points):
        parts.append(f'<circle class="dot" cx="{x(entities):.1f}" cy="{y(rate):.1f}" r="4"/>')
        anchor = "start" if at == 0 else "middle"  # clear of the axis
        parts.append(_text(x(entities), y(rate) - 11, f"{rate:,.0f}", anchor))
    return "\n".join([*parts, "</svg>", ""])


def _step(most: float) -> float:
    """Choose a round distance between grid lines, so that there are three to six.

    >>> _step(23_000), _step(61_000)
    (5000.0, 20000.0)
    """
    power = 10 ** math.floor(math.log10(most))
    return float(next(power * part for part in (0.2, 0.5, 1, 2) if most / (power * part) < 6))


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
