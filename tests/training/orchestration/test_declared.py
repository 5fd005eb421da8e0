"""What a step declares is what it does: order, cache and resume depend on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from featurestore.definitions.facets import Facet
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import History
from tests.worlds.pipeline_runs import NAMES, SETTINGS, tiny_history
from training import run as run_module
from training.orchestration.codec import encode_kept, measure, types_of
from training.orchestration.declared import DECLARED, SHARED, Uses
from training.orchestration.graph import ancestors_of, needs_of
from training.pipeline import STEPS, begin, steps_of
from training.run import TrainingRun

FREE = {"progress"}
WHOLE = {"publish": frozenset({"training", "decision", "drift"})}
"""Sections that a step writes down whole, so that their parts can't be watched."""


class Paths:
    """Settings that tell which of their values are read."""

    def __init__(
        self, settings: Any, path: str, reads: set[str], whole: frozenset[str] = frozenset()
    ) -> None:
        self._settings, self._path, self._reads, self._whole = settings, path, reads, whole

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._settings, name), f"{self._path}.{name}"
        if name in self._whole:
            self._reads.add(path)
            return value
        if isinstance(value, msgspec.Struct):
            return Paths(value, path, self._reads)
        self._reads.add(path)
        return value


class Watched:
    """A run that tells which of its attributes are read and set."""

    def __init__(self, run: TrainingRun, whole: frozenset[str] = frozenset()) -> None:
        vars(self).update(run=run, reads=set(), sets=set(), whole=whole)

    def __getattr__(self, name: str) -> Any:
        run = vars(self)["run"]
        known = getattr(TrainingRun, name, None)
        if isinstance(known, property):
            return known.fget(self)
        if name == "settings":
            return Paths(run.settings, "settings", vars(self)["reads"], vars(self)["whole"])
        if name not in vars(self)["sets"]:
            vars(self)["reads"].add(name)
        return getattr(run, name)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["sets"].add(name)
        setattr(vars(self)["run"], name, value)


def digests(run: TrainingRun) -> dict[str, str]:
    """Of every attribute that is set and has a codec."""
    names = set(types_of(TrainingRun, vars(run_module))) - {
        "offline",
        "registry",
        "progress",
        "domain",
    }
    return {name: measure(getattr(run, name)).digest for name in names if hasattr(run, name)}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return tiny_history(tmp_path_factory.mktemp("history") / "offline")


def covers(declared: Uses, read: str) -> bool:
    """Whether a read is declared; of the domain only parts are, for it has no digest of its own."""
    return any(
        read == path or read.startswith(path + ".") or (read == "domain" and "domain." in path)
        for path in declared.reads
    )


def test_every_step_does_what_it_declares(history: History, tmp_path: Path) -> None:
    """Twice: the second time there is a champion to be compared with.

    A step that is new needs a line in training/orchestration/declared.py: the message has it.
    """
    registry = FolderRegistry(tmp_path)
    steps = steps_of(mitigate=True)
    domain: Any = SimpleNamespace(
        facets=(Facet("high", feature="noise.a", least=0.0),),
        moving_features=frozenset(),
        features=(),
        directions={"noise.a": 1},
    )
    read: dict[str, set[str]] = {name: set() for name, _ in steps}
    for _ in range(2):
        run = begin(history.store, registry, SETTINGS, at_ms=history.end_ms, domain=domain,
                    run_id="one")  # fmt: skip
        for name, step in steps:
            before, watched = digests(run), Watched(run, WHOLE.get(name, frozenset()))
            step(watched)  # type: ignore[arg-type]
            after = digests(run)
            changed = {each for each in after if before.get(each) != after[each]}
            reads = vars(watched)["reads"] - SHARED - FREE
            read[name] |= reads
            declared = DECLARED.get(name, Uses((), ()))
            undeclared = {each for each in reads - set(declared.sets) if not covers(declared, each)}
            line = f'"{name}": Uses({sorted(reads)}, {sorted(vars(watched)["sets"] | changed)})'
            assert name in DECLARED, line
            assert not undeclared, f"{name} reads {undeclared}: {line}"
            assert changed | vars(watched)["sets"] <= set(declared.sets), line
            assert set(declared.sets) - SHARED <= vars(watched)["sets"] | changed, line
    for name, _ in steps:
        unread = {
            path
            for path in set(DECLARED[name].reads) - SHARED
            if not any(
                r == path
                or (r == "domain" and path.startswith("domain."))
                or r.startswith(path + ".")
                for r in read[name]
            )
        }
        assert not unread, f"{name} declares {unread}, and never reads it"


def test_every_result_of_today_can_be_kept(history: History, tmp_path: Path) -> None:
    run = begin(history.store, FolderRegistry(tmp_path), SETTINGS, at_ms=history.end_ms)
    types = types_of(TrainingRun, vars(run_module))
    for name, step in STEPS:
        step(run)
        for each in DECLARED[name].sets:
            content = encode_kept(getattr(run, each), types[each])
            assert content is not None, f"{name} sets {each}, which can't be kept"


def test_the_graph_follows_the_declarations() -> None:
    needs = needs_of(NAMES)
    for name, before in needs.items():
        assert all(NAMES.index(each) < NAMES.index(name) for each in before)
    assert needs["collect"] == ()
    assert "release" not in ancestors_of("evaluate", needs)
    assert {"collect", "split", "choose"} <= ancestors_of("release", needs)
    assert {"judge", "calibrate", "evaluate", "thresholds"} <= ancestors_of("publish", needs)
    for name in NAMES:
        earlier = {each for step in NAMES[: NAMES.index(name)] for each in DECLARED[step].sets}
        given = {each.split(".")[0] for each in DECLARED[name].reads} - earlier
        assert given <= {
            "offline", "registry", "settings", "at_ms", "now_ms", "actor", "fitter", "params",
            "run_id", "domain", "known_definitions", "notes", "search", "limits", "extra_gates",
        }, name  # fmt: skip


def test_a_step_that_is_not_declared_waits_for_all_before_it() -> None:
    assert needs_of(["a", "b", "c"], {"a": Uses((), ("x",)), "c": Uses(("x",), ())}) == {
        "a": (), "b": ("a",), "c": ("a",),
    }  # fmt: skip
