"""Windows close by the order of rows: each once, in order, never more open than `slots`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.windows.watermark import Watermark

TIMES = st.lists(st.integers(-500, 500), max_size=80)


def _run(watermark, batches):
    """Return the closed windows, and the first open window of each row."""
    closed, firsts = [], []
    for batch in batches:
        for start, end, first in watermark.runs(np.array(batch, dtype=np.int64)):
            closed += watermark.close_below(first)
            firsts += [first] * (end - start)
    return closed, firsts


@given(TIMES, st.integers(1, 50), st.integers(0, 200))
def test_a_window_closes_when_its_end_and_the_lateness_have_passed(times, window_ms, lateness_ms):
    watermark = Watermark(window_ms, lateness_ms)
    closed, firsts = _run(watermark, [times])
    for row, first in enumerate(firsts):
        greatest = max(times[: row + 1])
        assert first * window_ms + lateness_ms <= greatest < (first + 1) * window_ms + lateness_ms
        assert times[row] // window_ms < first + watermark.slots
    assert closed == sorted(set(closed))
    assert watermark.watermark_ms == (max(times) if times else None)


@given(TIMES, st.integers(1, 50), st.integers(0, 200))
def test_row_by_row_is_the_same_as_at_once(times, window_ms, lateness_ms):
    whole, single = Watermark(window_ms, lateness_ms), Watermark(window_ms, lateness_ms)
    found = _run(whole, [times])
    first_of_rows = _run(single, [[time] for time in times])
    assert found[1] == first_of_rows[1]
    assert whole.state() == single.state()
    # Windows without rows may be named by one way and not by the other; windows with rows by both.
    used = {time // window_ms for time, first in zip(times, found[1], strict=True)}
    assert [w for w in found[0] if w in used] == [w for w in first_of_rows[0] if w in used]


def test_closing_everything_leaves_only_later_windows():
    watermark = Watermark(10, 100)
    assert list(watermark.close_all()) == []
    _run(watermark, [[25, 3]])
    assert set(watermark.close_all()) >= {0, 1, 2}
    assert list(watermark.close_all()) == []
    assert [first for _, _, first in watermark.runs(np.array([26, 31]))] == [3]


def test_state_is_the_whole_state():
    watermark, other = Watermark(10, 5), Watermark(10, 5)
    _run(watermark, [[7, 25]])
    other.restore(*watermark.state())
    assert _run(watermark, [[9, 99]]) == _run(other, [[9, 99]])
