"""Dead letters of a table's rows: the row as JSON, with file, row, column and reason as headers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Outgoing
from claimtrace.limits import MAX_HEADER_BYTES
from claimtrace.refusals import REASONS

from .rows import RefusedRow

_MAX_CELL_CHARS: Final = 4096
_MAX_ROW_BYTES: Final = 64 * 1024
_MAX_HEADER_CHARS: Final = MAX_HEADER_BYTES // 64


def dead_row(refused: RefusedRow, topic: str, file: str, partition: int, now_ms: int) -> Outgoing:
    """Make the record for the dead-letter topic.

    Args:
        refused: the row.
        topic: of the event that the row isn't.
        file: the table's name.
        partition: of the dead-letter topic.
        now_ms: the log time: the row's own may be what is wrong with it.
    """
    context = {
        "topic": topic,
        "file": file,
        "row": str(refused.row),
        "column": refused.column,
        "reason": refused.reason,
        "field": refused.column,
        "detail": refused.why,
        "hint": refused.hint or REASONS[refused.reason],
    }
    headers = tuple(
        (f"x-dead-{name}", text[:_MAX_HEADER_CHARS].encode(errors="replace"))
        for name, text in context.items()
    )
    value = msgspec.json.encode({name: _plain(cell) for name, cell in refused.cells.items()})
    return Outgoing(DEAD_TOPIC, partition, None, value[:_MAX_ROW_BYTES], now_ms, headers)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON can hold it."""
    if cell is None or isinstance(cell, bool | float):
        return cell
    if isinstance(cell, bytes):
        cell = cell.decode(errors="replace")
    return str(cell)[:_MAX_CELL_CHARS].encode(errors="replace").decode()
