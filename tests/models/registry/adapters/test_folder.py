"""The registry on a folder: versions, aliases, concurrent writers, damage, crashes at any step."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from claimtrace.adapters.files import atomic_files
from claimtrace.decisions import ModelRef
from claimtrace.errors import ModelError, StateError
from models.artefact import Thresholds
from models.registry.adapters import folder as registry_folder
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

_, MODEL = booster()
WHO = {"actor": "ana", "reason": "because"}


def publish(registry: FolderRegistry, at_ms: int = 1) -> ModelRef:
    return registry.publish(draft(), MODEL, at_ms=at_ms, **WHO)


def move(registry: FolderRegistry, version: int | None, at_ms: int = 2, **more: object) -> None:
    registry.move_alias("champion", version, at_ms=at_ms, **WHO, **more)  # type: ignore[arg-type]


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "models")


def files_of(registry: FolderRegistry) -> dict[str, bytes]:
    paths = sorted(registry.folder.rglob("*"))
    return {
        str(path.relative_to(registry.folder)): path.read_bytes()
        for path in paths
        if path.is_file()
    }


def test_an_empty_registry_answers_without_creating_anything(registry: FolderRegistry) -> None:
    assert registry.versions() == []
    assert registry.alias("champion") is None
    assert registry.aliases() == {}
    assert registry.history() == []
    assert registry.live_at("champion", 10**15) is None
    assert registry.verify() == []
    with pytest.raises(ModelError, match="alias 'champion' points to no version"):
        registry.load("champion")
    with pytest.raises(ModelError, match="no version 1"):
        registry.load(1)
    assert not registry.folder.exists()


def test_a_version_is_published_and_loaded_every_way(registry: FolderRegistry) -> None:
    first, second = publish(registry), publish(registry)
    assert [first.version, second.version] == [1, 2]
    assert registry.versions() == [first, second]
    move(registry, 2)
    assert registry.alias("champion") == second
    for which in ("champion", 2, second):
        artefact = registry.load(which)
        assert (artefact.ref, artefact.model_json) == (second, MODEL)
    assert sorted(files_of(registry)) == [
        "000001/manifest.json", "000001/model.json", "000002/manifest.json", "000002/model.json",
        "approvals.head", "approvals.log",
    ]  # fmt: skip
    assert registry.verify() == []


def test_a_published_file_is_read_only(registry: FolderRegistry) -> None:
    publish(registry)
    for file in ("manifest.json", "model.json"):
        assert (registry.folder / "000001" / file).stat().st_mode & 0o222 == 0


def test_names_have_their_own_versions_and_log(tmp_path: Path) -> None:
    claims, cards = FolderRegistry(tmp_path, "claims"), FolderRegistry(tmp_path, "cards")
    assert publish(claims).version == publish(cards).version == 1
    move(claims, 1)
    assert cards.alias("champion") is None
    with pytest.raises(ModelError, match="isn't a valid name"):
        FolderRegistry(tmp_path, "../elsewhere")


def test_what_was_live_then_and_who_approved_it(registry: FolderRegistry) -> None:
    publish(registry, 10)
    publish(registry, 20)
    registry.move_alias("champion", 1, actor="ana", reason="first", at_ms=30, evidence="e" * 64)
    registry.reject(2, actor="ben", reason="biased", at_ms=35)
    registry.move_alias("champion", 2, actor="cem", reason="mended", at_ms=40)
    registry.move_alias("champion", 1, actor="ana", reason="rolled back", at_ms=50)
    registry.move_alias("champion", None, actor="ana", reason="stopped", at_ms=60)
    live = [registry.live_at("champion", at_ms) for at_ms in (29, 30, 45, 55, 60)]
    assert [entry and (entry.version, entry.actor, entry.reason) for entry in live] == [
        None, (1, "ana", "first"), (2, "cem", "mended"), (1, "ana", "rolled back"), None,
    ]  # fmt: skip
    assert live[1] is not None
    assert live[1].evidence == "e" * 64
    history = registry.history()
    assert [entry.act for entry in history] == [
        "published", "published", "moved", "rejected", "moved", "moved", "withdrawn",
    ]  # fmt: skip
    assert [entry.from_version for entry in history[2:]] == [None, None, 1, 2, 1]
    assert registry.aliases() == {}


def test_of_two_promotions_at_once_the_second_is_refused(registry: FolderRegistry) -> None:
    for _ in range(3):
        publish(registry)
    move(registry, 1, expected=None)
    move(registry, 2, expected=1)
    with pytest.raises(StateError, match="points to version 2, not to version 1"):
        move(registry, 3, expected=1)
    with pytest.raises(StateError, match="not to no version"):
        move(registry, 3, expected=None)
    assert registry.aliases() == {"champion": 2}
    move(registry, 3)
    assert registry.aliases() == {"champion": 3}


def test_threads_that_promote_at_once_leave_one_winner(registry: FolderRegistry) -> None:
    publish(registry)
    won: list[str] = []

    def promote(actor: str) -> None:
        mine = FolderRegistry(registry.folder.parent)
        try:
            mine.move_alias("champion", 1, actor=actor, reason="r", at_ms=1, expected=None)
        except StateError:
            return
        won.append(actor)

    threads = [threading.Thread(target=promote, args=(f"actor {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = registry.live_at("champion", 1)
    assert entry is not None
    assert won == [entry.actor]
    assert len(registry.history()) == 2


def test_processes_that_publish_at_once_get_numbers_of_their_own(registry: FolderRegistry) -> None:
    threads = [threading.Thread(target=publish, args=(registry,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ref.version for ref in registry.versions()] == [1, 2, 3, 4, 5, 6]
    assert registry.verify() == []


def test_an_alias_never_moves_to_what_cannot_be_loaded(registry: FolderRegistry) -> None:
    publish(registry)
    model = registry.folder / "000001" / "model.json"
    model.chmod(0o644)
    model.write_bytes(MODEL.replace(b"binary", b"Binary"))
    with pytest.raises(ModelError, match="digest"):
        move(registry, 1)
    for missing in (2, 0, -1):
        with pytest.raises(ModelError, match="no version"):
            move(registry, missing)
    with pytest.raises(ModelError, match="isn't a valid name"):
        registry.move_alias("../x", 1, at_ms=1, **WHO)
    with pytest.raises(ModelError, match="no version"):
        registry.reject(9, at_ms=1, **WHO)
    assert registry.aliases() == {}


def test_what_would_be_refused_is_not_published(registry: FolderRegistry) -> None:
    with pytest.raises(ModelError, match="thresholds"):
        registry.publish(draft(thresholds=Thresholds(0.1, 0.9)), MODEL, at_ms=1, **WHO)
    with pytest.raises(ModelError, match="not a model"):
        registry.publish(draft(), b"\x80\x04K\x01.", at_ms=1, **WHO)
    with pytest.raises(StateError, match="actor"):
        registry.publish(draft(), MODEL, at_ms=1, actor="", reason="r")
    assert files_of(registry) == {"approvals.log": b""}
    assert publish(registry).version == 1


def test_a_reference_of_another_registry_is_refused(registry: FolderRegistry) -> None:
    ref = publish(registry)
    for wrong in (ModelRef("cards", 1, ref.digest), ModelRef("claims", 1, "0" * 64)):
        with pytest.raises(ModelError, match="version 1 is claims"):
            registry.load(wrong)


def damage_manifest(registry: FolderRegistry) -> None:
    path = registry.folder / "000001" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.1"))


def damage_log(registry: FolderRegistry) -> None:
    path = registry.folder / "approvals.log"
    path.write_bytes(path.read_bytes().replace(b"because", b"Because", 1))


def cut_log(registry: FolderRegistry) -> None:
    path = registry.folder / "approvals.log"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))


def empty_log(registry: FolderRegistry) -> None:
    (registry.folder / "approvals.log").write_bytes(b"")


def lose_log(registry: FolderRegistry) -> None:
    (registry.folder / "approvals.log").unlink()


def cut_log_of_an_older_folder(registry: FolderRegistry) -> None:
    (registry.folder / "approvals.head").unlink()
    cut_log(registry)


def damage_head(registry: FolderRegistry) -> None:
    (registry.folder / "approvals.head").write_bytes(b'{"entries":')


def lose_model(registry: FolderRegistry) -> None:
    (registry.folder / "000002" / "model.json").unlink()


def swap_versions(registry: FolderRegistry) -> None:
    for old, new in (("000001", "x"), ("000002", "000001"), ("x", "000002")):
        (registry.folder / old).rename(registry.folder / new)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_manifest, "000001/manifest.json"),
        (damage_log, "approvals.log, line 1"),
        (cut_log, "has 1 entries of 2: the last ones were cut off"),
        (empty_log, "has 0 entries of 2"),
        (lose_log, "has 0 entries of 2"),
        (cut_log_of_an_older_folder, "version 2 is not in the log"),
        (damage_head, "the head of the approvals log is damaged"),
        (lose_model, "a file of version 2 can't be read"),
        (swap_versions, "000001/manifest.json"),
    ],
)
def test_verify_names_what_is_wrong(
    registry: FolderRegistry, damage: Callable[[FolderRegistry], None], words: str
) -> None:
    publish(registry)
    registry.publish(draft(created_at_ms=5), MODEL, at_ms=3, **WHO)
    damage(registry)
    wrong = registry.verify()
    assert wrong
    assert words in wrong[0]


def test_a_damaged_log_stops_writers(registry: FolderRegistry) -> None:
    publish(registry)
    damage_log(registry)
    before = files_of(registry)
    with pytest.raises(StateError, match="line 1"):
        publish(registry)
    with pytest.raises(StateError, match="line 1"):
        move(registry, 1)
    assert files_of(registry) == before


@pytest.mark.parametrize("damage", [cut_log, empty_log, lose_log])
def test_a_log_without_its_last_line_stops_readers_and_writers(
    registry: FolderRegistry, damage: Callable[[FolderRegistry], None]
) -> None:
    """Nobody takes the model before the last promotion for the one in charge."""
    publish(registry)
    move(registry, 1)
    damage(registry)
    for use in (
        lambda: publish(registry),
        lambda: move(registry, 1),
        lambda: registry.alias("champion"),
        registry.history,
    ):
        with pytest.raises(StateError, match="the last ones were cut off"):
            use()


def test_a_log_written_anew_is_not_the_one_of_the_head(registry: FolderRegistry) -> None:
    publish(registry)
    other = FolderRegistry(registry.folder.parent / "other")
    publish(other, at_ms=9)
    log = (other.folder / "approvals.log").read_bytes()
    (registry.folder / "approvals.log").write_bytes(log)
    with pytest.raises(StateError, match="entry 1 of the approvals log is not the one"):
        registry.versions()


def test_a_folder_without_a_head_gets_one_with_the_next_line(registry: FolderRegistry) -> None:
    publish(registry)
    (registry.folder / "approvals.head").unlink()
    assert registry.recorded_head() is None
    assert registry.verify() == []
    move(registry, 1)
    approvals, head = registry.approvals(), registry.recorded_head()
    assert head is not None
    assert (head.entries, head.head) == (2, approvals.head)


def test_a_head_that_a_crash_left_behind_is_mended_by_the_next_line(
    registry: FolderRegistry,
) -> None:
    publish(registry)
    path = registry.folder / "approvals.head"
    before = path.read_bytes()
    move(registry, 1)
    path.write_bytes(before)
    assert registry.aliases() == {"champion": 1}
    move(registry, None)
    head = registry.recorded_head()
    assert head is not None
    assert head.entries == 3


def test_a_torn_line_is_cut_by_the_next_writer(registry: FolderRegistry) -> None:
    publish(registry)
    log = registry.folder / "approvals.log"
    whole = log.read_bytes()
    log.write_bytes(whole + whole[:77])
    assert len(registry.history()) == 1
    assert log.stat().st_size > len(whole)
    move(registry, 1)
    assert [entry.act for entry in registry.history()] == ["published", "moved"]
    assert registry.verify() == []


class Killed(BaseException):
    """An interruption as sudden as a kill: nothing in the code under test catches it."""


SYSTEM_CALLS = ("open", "write", "pwrite", "fsync", "rename", "ftruncate")


def failing_at(
    monkeypatch: pytest.MonkeyPatch, step: int, failure: BaseException
) -> Callable[[], int]:
    """Let the system call numbered `step` of the two modules fail before it acts.

    Returns a function that gives the number of calls so far.
    """
    calls = 0

    def wrap(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == step:
                raise failure
            return real(*args, **kwargs)

        return call

    for module in (atomic_files, registry_folder):
        double = type("Os", (), {"__getattr__": lambda _, name: getattr(os, name)})()
        for name in SYSTEM_CALLS:
            setattr(double, name, wrap(name))
        monkeypatch.setattr(module, "os", double)
    return lambda: calls


@pytest.mark.parametrize("failure", [Killed(), OSError(28, "No space left on device")])
def test_a_publish_that_dies_at_any_step_leaves_nothing_half_visible(
    tmp_path: Path, failure: BaseException
) -> None:
    step, finished = 0, False
    while not finished:
        step += 1
        registry = FolderRegistry(tmp_path / f"at-{step}")
        first = publish(registry)
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = failing_at(monkeypatch, step, failure)
            with contextlib.suppress(Killed, OSError):
                publish(registry)
            finished = calls() < step
        versions = registry.versions()
        assert versions[0] == first
        assert len(versions) in (1, 2)
        assert [registry.load(ref.version).ref for ref in versions] == versions
        assert publish(registry) in registry.versions()
        for wrong in registry.verify():
            assert "a publish was interrupted" in wrong
        assert not list(registry.folder.glob(".aside-*"))
    assert step > 12


@pytest.mark.parametrize("failure", [Killed(), OSError(5, "Input/output error")])
def test_a_promotion_that_dies_at_any_step_is_either_old_or_new(
    tmp_path: Path, failure: BaseException
) -> None:
    step, finished = 0, False
    while not finished:
        step += 1
        registry = FolderRegistry(tmp_path / f"at-{step}")
        publish(registry)
        publish(registry)
        move(registry, 1)
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = failing_at(monkeypatch, step, failure)
            try:
                move(registry, 2)
            except (Killed, OSError) as error:
                if isinstance(error, OSError):
                    assert registry.aliases() == {"champion": 1}
            finished = calls() < step
        assert registry.aliases()["champion"] in (1, 2)
        move(registry, 2)
        assert registry.aliases() == {"champion": 2}
        assert registry.verify() == []
    assert step > 4


@pytest.mark.slow
def test_a_real_kill_while_publishing(tmp_path: Path) -> None:
    code = f"""
import os, signal
from models.registry.adapters import folder as registry_folder
from tests.models.registry.adapters.test_folder import publish
registry_folder._append = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
publish(registry_folder.FolderRegistry({str(tmp_path)!r}))
"""
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    registry = FolderRegistry(tmp_path)
    assert registry.versions() == []
    assert publish(registry).version == 2
    assert registry.verify() == [
        "version 1 is not in the log: a publish was interrupted, or lines were cut off"
        f" [{registry.folder / '000001'}]"
    ]
