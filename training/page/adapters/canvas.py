"""The drawing board: one style for all pictures, and SVG whose bytes depend on nothing else.

Texts stay texts (small files, sharp in print, found by a search), and positions are set by hand, so
that no font's size moves anything. Points are written as strokes of a few bytes each instead of
pictures inside the picture: compressed pixels differ between machines.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ..markup import Markup, text

FRAUD: Final = "#b3400f"
LEGIT: Final = "#2f6f9f"
UNKNOWN: Final = "#8a8f98"
INK: Final = "#22262b"
FAINT: Final = "#c9cdd3"
LOW_TO_HIGH: Final = ("#7fb2dd", "#a9a3a8", "#b3400f")
"""From a light blue to a dark vermilion: told apart in grey print and by the colour-blind."""

WIDTH: Final = 7.0
"""Inches; every picture is as wide as the text of the page."""

_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "claimtrace",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.dpi": 72,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "path.simplify": True,
    "savefig.bbox": None,
}
_POINT: Final = re.compile(
    r'<use xlink:href="#(?P<shape>[\w-]+)" x="(?P<x>-?[\d.]+)" y="(?P<y>-?[\d.]+)"'
    r' style="fill: (?P<fill>#[0-9a-f]{6})(?:; fill-opacity: [\d.]+)?"/>\s*'
)
_SHAPE: Final = re.compile(r'<path id="(?P<shape>[\w-]+)" d="M 0 (?P<r>[\d.]+) ?\nC ')
_COLLECTION: Final = re.compile(r'<g id="PathCollection_\d+">.*?\n   ?</g>\n', re.DOTALL)


@contextmanager
def drawing(height: float, width: float = WIDTH) -> Iterator[Any]:
    """Give a new figure of this size in inches, and close it afterwards.

    The settings and the backend of matplotlib are as before when the drawing is done.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before = mpl.get_backend()
    plt.switch_backend("agg")
    try:
        with warnings.catch_warnings(), mpl.rc_context({**mpl.rcParamsDefault, **_STYLE}):
            warnings.simplefilter("ignore")  # a letter without a glyph here is drawn by the reader
            figure = plt.figure(figsize=(width, height))
            try:
                yield figure
            finally:
                plt.close(figure)
    finally:
        if before.lower() != "agg":
            plt.switch_backend(before)


def svg_of(figure: Any, name: str, words: str) -> Markup:
    """Write a figure as an element `svg`.

    Args:
        name: a word that no other picture of the page has; ids begin with it.
        words: what the picture shows, for those who can't see it.
    """
    for artist in figure.findobj():
        artist.set_rasterized(False)
    sink = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(sink, format="svg", metadata=nothing, transparent=True)
    return clean_svg(sink.getvalue().decode(), name, words)


def clean_svg(svg: str, name: str, words: str) -> Markup:
    """Return matplotlib's SVG as an element of a page.

    Without declarations, addresses of the web, and sizes; ids begin with the picture's name.
    """
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', body)
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>\s*", "", body[body.index(">") + 1 :], flags=re.DOTALL)
    body = strokes_for_points(body)
    body = re.sub(r'\b(id|xlink:href)="(#?)', rf'\1="\2{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace("'DejaVu Sans'", "sans-serif")
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{text(words)}">'
    return Markup(head + re.sub(r">\s+<", "><", body).strip())


def strokes_for_points(body: str) -> str:
    """Write the points of one colour as one path of round dots, for a tenth of the bytes.

    Points that don't touch the colours' order lose nothing; colours are drawn one after the other.
    """
    reaches = {found["shape"]: float(found["r"]) for found in _SHAPE.finditer(body)}
    return _COLLECTION.sub(lambda found: _dots(found.group(), reaches), body)


def _dots(collection: str, reaches: Mapping[str, float]) -> str:
    found = list(_POINT.finditer(collection))
    if len(found) < 2:
        return collection
    shape = found[0]["shape"]
    if shape not in reaches or any(one["shape"] != shape for one in found):
        return collection
    by_colour: dict[str, list[str]] = {}
    for one in found:
        by_colour.setdefault(one["fill"], []).append(
            f"M{float(one['x']):.1f} {float(one['y']):.1f}h0"
        )
    width = 2 * reaches[shape]
    clip = re.search(r' clip-path="url\(#[\w-]+\)"', collection)
    paths = "".join(
        f'<path d="{"".join(points)}" style="fill: none; stroke: {colour}; stroke-width: '
        f'{width:.2f}; stroke-linecap: round"/>'
        for colour, points in by_colour.items()
    )
    return f"<g{clip.group() if clip else ''}>{paths}</g>"


def label(words: str, most: int = 44) -> str:
    """Return a text that a picture can show: printable, on one line, with its middle left out.

    >>> label("a\\nb\\x00" + "c" * 9, most=9)
    'a b…cccc'
    """
    plain = "".join(each if each.isprintable() else " " for each in words)
    plain = " ".join(plain.split())
    if len(plain) <= most:
        return plain
    return f"{plain[: (most - 1) // 2 - 1]}…{plain[-(most // 2) :]}"
