"""Two models counted together have the tiles that each has alone, wherever batches are cut."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.guards.pair_book import PairBook, Scores
from monitoring.windows.reference import build_reference
from monitoring.windows.tile import Tile
from monitoring.windows.tile_book import TileBook

WINDOW_MS = 10
TRAINED = np.linspace(0.0, 1.0, 200)
REFERENCES = [
    msgspec.structs.replace(
        build_reference(["x"], np.zeros((200, 1)), TRAINED**power, TRAINED > 0.9), features=[]
    )
    for power in (1, 2)
]
scores = st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.9, 1.0, float("nan")])
rows = st.tuples(
    st.integers(-30, 200), scores, scores, st.booleans(), st.booleans(), st.integers(0, 2)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, max_size=40), st.integers(1, 4), st.data())
def test_tiles_are_those_of_two_books(given: list, least: int, data: st.DataObject) -> None:
    given.sort(key=lambda row: row[0] // 40)  # mostly forward, with late ones
    columns = [np.array(each) for each in zip(*given, strict=True)] or [np.zeros(0)] * 6
    times, unseen = columns[0].astype(np.int64), columns[5].astype(np.int64)
    wanted = []
    for at, reference in enumerate(REFERENCES):
        book = TileBook(reference, f"claims/{at}", WINDOW_MS, 0)
        referred = columns[3 + at].astype(np.bool_)
        book.add(times, np.empty((len(times), 0)), columns[1 + at].astype(float), referred, unseen)
        wanted.append([plain(tile) for tile in book.close() if tile.n >= least])
    book = PairBook(["claims/0", "claims/1"], REFERENCES, WINDOW_MS, least)
    found: list[tuple[Tile, Tile]] = []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(times)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(times)], strict=True):
        part = slice(start, end)
        models = [
            Scores(columns[1 + at][part].astype(float), columns[3 + at][part].astype(np.bool_))
            for at in range(2)
        ]
        found += book.add(times[part], models, unseen[part])
        again = PairBook(["claims/0", "claims/1"], REFERENCES, WINDOW_MS, least)
        again.restore(book.arrays())
        book = again
    assert [plain(champion) for champion, _ in found] == wanted[0]
    assert [plain(canary) for _, canary in found] == wanted[1]


def plain(tile: Tile) -> Tile:
    """A tile without what guards don't count."""
    return msgspec.structs.replace(tile, late=0)
