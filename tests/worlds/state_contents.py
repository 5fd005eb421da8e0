"""The contents of an engine's state, independent of its layout in memory.

Maintenance may run at any time, so two engines in the same state can differ in every array. Here
ids are replaced by their hashes, entries by their readable contents, and forgotten entries are left
out.

"""

from __future__ import annotations

from typing import Any

import numpy as np

from featurestore.state_arrays import Arrays, below
from stream.engine.engine import Engine

_FEATURES, _LEDGER = "intake/features/", "intake/ledger/"


def contents(engine: Engine) -> dict[str, Any]:
    """Return everything that a later event could find, by name, after running the maintenance."""
    for _ in engine.compaction():
        pass
    arrays = engine.arrays()
    vectors = engine.intake.features
    ids = {name: ids_of(below(f"{_FEATURES}ids.{name}/", arrays)) for name in vectors._interners}
    found: dict[str, Any] = {"positions": engine.positions, "chains": engine.decider.chains}
    found |= {name: a.tobytes() for name, a in arrays.items() if name.startswith("drift/")}
    for windows in vectors._windows:
        own = ids[windows.entity.name]
        for kind, series in windows.series:
            name = f"windows.{windows.entity.name}.{kind}"
            counted = [ids[vectors.reading.distinct_of[field]] for field in series.distinct_fields]
            found[name] = entries_of(below(f"{_FEATURES}{name}/", arrays), own, counted)
    for group, _ in vectors._groups:
        name = f"profiles.{group.group.name}"
        own = ids[group.group.entity.name]
        found[name] = profiles_of(below(f"{_FEATURES}{name}/", arrays), own)
    slots = [ids[entity.name] for entity, _ in vectors._slots]
    for topic, ledger in engine.intake._ledgers.items():
        rows = below(f"{_LEDGER}{topic}/", arrays)
        found[f"ledger.{topic}"] = rows_of(rows, slots, ledger._remember_ms)
    return found


def ids_of(arrays: Arrays) -> dict[int, bytes]:
    """Return the hash of each number's id."""
    used = np.flatnonzero(arrays["numbers"] >= 0)
    found = {int(arrays["numbers"][at]): arrays["hashes"][at].tobytes() for at in used}
    assert len(found) == len(used), "two ids have one number"
    return found


def entries_of(arrays: Arrays, ids: dict[int, bytes], counted: list[dict[int, bytes]]) -> Any:
    """Return by id the (time, values, distinct ids, mark) of each entry, in order."""
    found = {}
    for entity in np.flatnonzero(arrays["length"]):
        first = arrays["start"][entity] + arrays["head"][entity]
        span = slice(first, first + arrays["length"][entity])
        sums = np.concatenate(
            [arrays["base"][:, entity : entity + 1], arrays["prefix"][:, span]], 1
        )
        columns = [arrays["time"][span].tolist(), arrays["marks"][span].tolist()]
        columns += np.diff(sums).tolist()
        for column, names in zip(arrays["distinct"], counted, strict=True):
            columns.append([names.get(number) for number in column[span].tolist()])
            assert all((number < 0) == (name is None)
                       for number, name in zip(column[span], columns[-1], strict=True))  # fmt: skip
        found[ids[int(entity)]] = sorted_ties(list(zip(*columns, strict=True)))
    return found


def sorted_ties(entries: list[Any]) -> list[Any]:
    """Sort entries of one millisecond, whose order is free: every window has all or none."""
    return sorted(entries, key=repr)


def profiles_of(arrays: Arrays, ids: dict[int, bytes]) -> Any:
    """Return by id the event time of the newest profile, and its values."""
    known = np.flatnonzero(arrays["times"] != np.iinfo(np.int64).min)
    values = arrays["values"]
    return {ids[int(at)]: (int(arrays["times"][at]), values[:, at].tobytes()) for at in known}


def rows_of(arrays: Arrays, slots: list[dict[int, bytes]], remember_ms: int) -> Any:
    """Return the rows of the ids that are still known, and the watermark."""
    base, _, _, watermark = arrays["span"].tolist()
    mask = arrays["admitted"].size - 1
    names = {row: name for row, name in ids_of(below("ids.", arrays)).items() if row >= base}
    found: dict[Any, Any] = {"watermark": watermark}
    for row, name in names.items():
        at = row & mask
        if arrays["admitted"][at] > watermark - remember_ms:
            entities = [
                slots[slot].get(number) for slot, number in enumerate(arrays["entities"][:, at])
            ]
            plain = ("admitted", "applied_times", "contents", "outcomes")
            found[name] = [*(int(arrays[column][at]) for column in plain), entities]
    return found
