"""One contract of model registries, on a folder and in a bucket: acts, states, races, damage."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claimtrace.decisions import ModelRef, RolloutRef
from claimtrace.errors import ModelError, StateError, UsageError
from models.artefact import Thresholds
from models.registry.adapters.folder import FolderRegistry
from models.registry.adapters.s3 import S3Registry
from models.registry.approval import check_promotion
from models.registry.registry import ModelRegistry
from models.rollout.manifest import Canary, RolloutDraft
from tests.servers.aws_local import REGION
from tests.servers.ministack import Ministack
from tests.worlds.artefacts import draft
from tests.worlds.boosters import booster

_, MODEL = booster()
WHO = {"actor": "ana", "reason": "because"}
ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()

Open = Callable[[], Any]
"""Opens the registry of a test once more, as another process would."""


@pytest.fixture(params=["folder", "bucket"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    if request.param == "folder":
        yield lambda user="": FolderRegistry(tmp_path / "models", "claims", user)
        return
    aws: Ministack = request.getfixturevalue("ministack")
    url = f"s3://{bucket_of(aws, monkeypatch)}/some/models"
    yield lambda user="": S3Registry(url, "claims", user, aws.client("s3"))


def bucket_of(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket; variables give access to it, as in production."""
    for name in ("PROFILE", "SESSION_TOKEN", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in (
        ("ACCESS_KEY_ID", "local"), ("SECRET_ACCESS_KEY", "local"), ("REGION", REGION),
        ("ENDPOINT_URL_S3", aws.endpoint),
    ):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    name = f"models-{next(_numbers)}"
    aws.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return name


@pytest.fixture
def registry(opened: Open) -> ModelRegistry:
    return opened()


def publish(registry: ModelRegistry, at_ms: int = 1) -> ModelRef:
    return registry.publish(draft(created_at_ms=at_ms), MODEL, at_ms=at_ms, **WHO)


def test_an_empty_registry_answers(registry: ModelRegistry) -> None:
    assert registry.versions() == registry.history() == registry.verify() == []
    assert registry.alias("champion") is registry.live_at("champion", 10**15) is None
    assert registry.aliases() == {}
    assert registry.recorded_head() is None
    assert not registry.exists()
    with pytest.raises(ModelError, match="alias 'champion' points to no version"):
        registry.load("champion")
    with pytest.raises(ModelError, match="no version 1"):
        registry.load(1)
    with pytest.raises(ModelError, match="no version 1"):
        registry.approve(1, at_ms=1, **WHO)


def test_versions_are_read_every_way_by_others_too(opened: Open) -> None:
    registry = opened()
    first, second = publish(registry), publish(registry, 2)
    assert [first.version, second.version] == [1, 2]
    registry.move_alias("champion", 2, at_ms=3, **WHO)
    for mine in (registry, opened()):
        assert mine.versions() == [first, second]
        assert mine.alias("champion") == second
        for which in ("champion", 2, second):
            assert (mine.load(which).ref, mine.load(which).model_json) == (second, MODEL)
        assert sorted(mine.files(2)) == ["manifest.json", "model.json"]
        assert mine.verify() == []
        head = mine.recorded_head()
        assert (head.entries, head.head) == (3, mine.approvals().head)
        assert mine.exists()
    with pytest.raises(ModelError, match="version 1 is claims"):
        registry.load(ModelRef("claims", 1, "0" * 64))


def test_what_was_live_then_and_who_approved_it(registry: ModelRegistry) -> None:
    publish(registry, 10)
    publish(registry, 20)
    registry.move_alias("champion", 1, actor="ana", reason="first", at_ms=30, evidence="e" * 64)
    registry.reject(2, actor="ben", reason="biased", at_ms=35)
    registry.move_alias("champion", 2, actor="cem", reason="mended", at_ms=40)
    registry.move_alias("champion", None, actor="ana", reason="stopped", at_ms=60)
    live = [registry.live_at("champion", at_ms) for at_ms in (29, 30, 45, 60)]
    assert [entry and (entry.version, entry.actor, entry.reason) for entry in live] == [
        None, (1, "ana", "first"), (2, "cem", "mended"), None,
    ]  # fmt: skip
    assert [entry.from_version for entry in registry.history()[2:]] == [None, None, 1, 2]


def test_states_follow_from_the_log(opened: Open) -> None:
    registry = opened("lisa@host")
    for at_ms in range(1, 5):
        publish(registry, at_ms)
    assert registry.approvals().states() == dict.fromkeys((1, 2, 3, 4), "pending")
    registry.approve(1, at_ms=5, waived=["bias", "size"], **WHO)
    registry.reject(2, at_ms=6, **WHO)
    registry.move_alias("champion", 3, at_ms=7, **WHO)
    registry.move_alias("shadow", 4, at_ms=8, **WHO)
    log = opened().approvals()
    assert log.states() == {1: "approved", 2: "rejected", 3: "approved", 4: "pending"}
    assert log.waivers(1) == dict.fromkeys(("bias", "size"), log.entries[4])
    assert {entry.user for entry in log.entries} == {"lisa@host"}
    registry.approve(2, at_ms=9, **WHO)
    registry.retire(1, at_ms=10, **WHO)
    assert registry.approvals().states() == {
        1: "retired", 2: "approved", 3: "approved", 4: "pending",
    }  # fmt: skip


def test_a_retired_version_is_never_in_charge(registry: ModelRegistry) -> None:
    publish(registry)
    registry.move_alias("champion", 1, at_ms=2, **WHO)
    with pytest.raises(StateError, match="version 1 is champion"):
        registry.retire(1, at_ms=3, **WHO)
    registry.move_alias("champion", None, at_ms=4, **WHO)
    registry.retire(1, at_ms=5, **WHO)
    with pytest.raises(StateError, match="retired, for good"):
        registry.move_alias("champion", 1, at_ms=6, **WHO)
    assert registry.aliases() == {}


def test_a_check_sees_the_log_that_its_line_continues(registry: ModelRegistry) -> None:
    publish(registry)
    registry.reject(1, at_ms=2, **WHO)

    def promote(**more: Any) -> None:
        registry.move_alias("champion", 1, at_ms=3, **WHO, check=lambda log: check_promotion(
            log, 1, failed=["bias"], user="ana@h", four_eyes=False, **more))  # fmt: skip

    with pytest.raises(StateError, match="rejected by ana: because"):
        promote(waived=["bias"])
    registry.approve(1, at_ms=4, **WHO)
    with pytest.raises(StateError, match="failed the gate bias"):
        promote(waived=[])
    with pytest.raises(UsageError, match="didn't fail the gate size"):
        promote(waived=["size"])
    assert len(registry.history()) == 3
    registry.approve(1, at_ms=5, waived=["bias"], **WHO)
    promote(waived=[])
    assert registry.aliases() == {"champion": 1}


def test_of_two_promotions_the_second_is_refused(opened: Open) -> None:
    registry, other = opened(), opened()
    for at_ms in (1, 2, 3):
        publish(registry, at_ms)
    assert other.aliases() == {}
    registry.move_alias("champion", 1, at_ms=4, expected=None, **WHO)
    with pytest.raises(StateError, match="points to version 1, not to no version"):
        other.move_alias("champion", 2, at_ms=4, expected=None, **WHO)
    other.move_alias("champion", 3, at_ms=5, expected=1, **WHO)
    assert registry.aliases() == {"champion": 3}


def together(work: list[Callable[[], None]]) -> None:
    start = threading.Barrier(len(work))

    def run(each: Callable[[], None]) -> None:
        start.wait()
        each()

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_that_promote_at_once_one_wins(opened: Open) -> None:
    publish(opened())
    won: list[str] = []

    def promote(actor: str) -> None:
        try:
            opened().move_alias("champion", 1, actor=actor, reason="r", at_ms=1, expected=None)
        except StateError:
            return
        won.append(actor)

    together([lambda n=n: promote(f"actor {n}") for n in range(6)])
    entry = opened().live_at("champion", 1)
    assert won == [entry.actor]
    assert len(opened().history()) == 2
    assert opened().verify() == []


def test_all_that_publish_at_once_get_numbers_of_their_own(opened: Open) -> None:
    together([lambda n=n: publish(opened(), n) for n in range(1, 6)])
    registry = opened()
    versions = [ref.version for ref in registry.versions()]
    assert len(set(versions)) == 5
    assert len({registry.load(version).manifest.created_at_ms for version in versions}) == 5
    assert registry.verify() == []


PROMOTE = """
import sys
from claimtrace.errors import StateError
place = sys.argv[1]
if "://" in place:
    from models.registry.adapters.s3 import S3Registry as Registry
else:
    from models.registry.adapters.folder import FolderRegistry as Registry
registry = Registry(place)
sys.stdin.readline()
try:
    registry.move_alias("champion", 1, actor=sys.argv[2], reason="r", at_ms=1, expected=None)
except StateError:
    sys.exit(3)
"""


def test_of_two_processes_that_promote_at_once_one_wins(opened: Open) -> None:
    registry = opened()
    publish(registry)
    place = registry.place.rpartition("/")[0]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROMOTE, place, who], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for who in ("ana", "ben")
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    codes = [process.wait(timeout=240) for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(codes) == [0, 3]
    winner = ("ana", "ben")[codes.index(0)]
    assert opened().history()[-1].actor == winner
    assert len(opened().history()) == 2


def test_what_would_be_refused_is_not_published(registry: ModelRegistry) -> None:
    with pytest.raises(ModelError, match="thresholds"):
        registry.publish(draft(thresholds=Thresholds(0.1, 0.9)), MODEL, at_ms=1, **WHO)
    with pytest.raises(StateError, match="actor"):
        registry.publish(draft(), MODEL, at_ms=1, actor="", reason="r")
    assert registry.versions() == []
    assert publish(registry).version == 1
    assert registry.verify() == []


def test_attachments_are_files_of_the_version(registry: ModelRegistry) -> None:
    page = b"<!doctype html>"
    ref = registry.publish(
        draft(), MODEL, at_ms=1, attachments={"report.html": page}, **WHO
    )  # fmt: skip
    assert registry.attachment(ref, "report.html") == page
    assert registry.files(ref)["report.html"] == page
    assert registry.attachment_place(ref.version, "report.html").endswith("000001/report.html")
    assert registry.verify() == []
    with pytest.raises(ModelError, match="has no other"):
        registry.attachment(ref, "other.html")


def test_a_roll_out_is_started_grown_ended_and_kept(registry: ModelRegistry, opened: Open) -> None:
    one, two = publish(registry), publish(registry, 2)
    registry.move_alias("champion", 1, at_ms=3, **WHO)

    def started(share_ppm: int, expected: int | None) -> RolloutRef:
        canary = Canary(two, share_ppm, "salt")
        made = RolloutDraft(created_at_ms=5, champion=one, canary=canary)
        return registry.start_rollout(made, expected=expected, at_ms=5, **WHO)

    first = started(50_000, None)
    with pytest.raises(StateError, match="roll-out 1 is in force"):
        started(60_000, None)
    grown = started(90_000, first.version)
    other = opened()
    assert other.rollout_in_force() == grown
    assert other.rollout(first).canary == Canary(two, 50_000, "salt")
    assert other.verify() == []
    other.end_rollout(expected=grown.version, at_ms=6, **WHO)
    assert registry.rollout_in_force() is None
    assert registry.rollout(grown).models == [one, two], "a replay still reads it"
    with pytest.raises(ModelError, match="no roll-out 9"):
        registry.rollout(9)


def test_a_promotion_ends_the_roll_out(registry: ModelRegistry) -> None:
    one, two = publish(registry), publish(registry, 2)
    registry.move_alias("champion", 1, at_ms=3, **WHO)
    made = RolloutDraft(created_at_ms=5, champion=one, shadows=[two])
    registry.start_rollout(made, expected=None, at_ms=5, **WHO)
    registry.move_alias("champion", 2, at_ms=6, **WHO)
    assert registry.rollout_in_force() is None
