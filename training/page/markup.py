"""HTML from elements: every text is escaped unless it is markup already."""

from __future__ import annotations

import re
from html import escape
from typing import Final

_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters and halves of surrogates, which HTML and XML don't allow."""

_VOID: Final = frozenset({"meta", "br", "img", "hr"})


class Markup(str):
    """Text that is HTML; the elements here and our own pictures only."""

    __slots__ = ()


def text(words: object) -> Markup:
    """Escape a text; characters that no document may have become U+FFFD.

    >>> text('<script>"a" & b')
    '&lt;script&gt;&quot;a&quot; &amp; b'
    """
    return Markup(escape(_NOT_TEXT.sub("\ufffd", str(words))))


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """Build an element; children that aren't markup are escaped, and so are attributes.

    A trailing `_` of an attribute's name is left out (`class_`), other `_` become `-`.

    >>> element("p", "1 < 2", element("b", "yes"), class_="note")
    '<p class="note">1 &lt; 2<b>yes</b></p>'
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{join(*children)}</{name}>")


def join(*parts: str) -> Markup:
    """Put parts after each other; those that aren't markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))
