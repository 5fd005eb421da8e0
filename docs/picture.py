"""Draw docs/images/demo.svg: the end of a real run of the demo, as a terminal shows it.

python docs/picture.py FOLDER      # a folder that does not exist yet; takes half a minute
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rich.color import ColorSystem

from cli.__main__ import main
from cli.commands.start import demo
from cli.console import out

WIDTH = 104


def draw(folder: str) -> None:
    """Run the demo into a folder and keep its end as a picture."""
    say = demo._title

    def title(name: str, words: str) -> None:
        if name.startswith("3"):
            out.record = True
        elif name.startswith("where"):
            out.record = False
        say(name, words)

    demo._title = title
    out.width, out._force_terminal, out._color_system = WIDTH, True, ColorSystem.TRUECOLOR
    code = main(["--folder", folder, "demo", "--quick"])
    if code:
        sys.exit(code)
    out.record = True
    drawn = out.export_svg(title="claimtrace demo")
    # fonts from elsewhere have no place in a document that must look the same offline
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    target = Path(__file__).parent / "images" / "demo.svg"
    target.write_text(drawn.replace("font-family: Fira Code", "font-family: monospace"))


if __name__ == "__main__":
    draw(sys.argv[1])
