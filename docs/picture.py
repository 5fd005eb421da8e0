"""Draw docs/images/demo.svg: the end of a real run of the demo, as the terminal shows it.

    python docs/picture.py FOLDER      # a folder that does not exist yet; takes half a minute
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from claimtrace.__main__ import main
from claimtrace.commands.console import out

WIDTH = 104
SHOWN_CLAIMS = 2


def lines_of(text: str) -> list[str]:
    """The lines of the day and of the proof, with the first claims of the queue."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if "3  a day" in line)
    end = next(i for i, line in enumerate(lines) if "where everything lies" in line)
    kept, claims = [], 0
    for line in lines[start:end]:
        claims += bool(re.search(r"clm-\d+.*refer", line))
        in_queue = line.startswith(" ") or "clm-" in line or line.startswith("claims")
        if not (claims > SHOWN_CLAIMS and in_queue and "differ" not in line):
            kept.append(line)
    return kept


def draw(folder: str) -> None:
    """Run the demo into a folder and keep its end as a picture."""
    told = io.StringIO()
    out.file, out.width = told, WIDTH
    out._force_terminal = True  # noqa: SLF001 - rich has no door for this after the making
    code = main(["--folder", folder, "demo", "--quick"])
    if code:
        sys.exit(code)
    paper = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines_of(told.getvalue()):
        paper.print(Text.from_ansi(line))
    target = Path(__file__).parent / "images" / "demo.svg"
    drawn = paper.export_svg(title="claimtrace demo").replace(folder, "claimtrace-data")
    # fonts from elsewhere have no place in a document that must look the same offline
    target.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


if __name__ == "__main__":
    draw(sys.argv[1])
