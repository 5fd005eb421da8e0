"""The search for settings: the same trials with any number of jobs, and after any end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from claimtrace.errors import ConfigError, StateError
from tests.training.fitting.test_directions import two_features
from training.adapters import study_file
from training.adapters.studies import StudySearch, check_installed
from training.fitting.choice import pairs_of
from training.fitting.fitters import SEARCHED, Rows
from training.fitting.search import (
    FEWEST,
    SPACE,
    Ended,
    History,
    Judge,
    Result,
    limits_of,
    look_of,
    never_ended,
    panels_of,
    rounded,
)

FIRST = {name: each.low for name, each in SPACE.items()}


def judged(asked: Mapping[str, float]) -> float:
    return -abs(math.log(asked["eta"] / 0.07)) - asked["max_depth"] / 100


def judge(
    asked: Mapping[str, float], limits: Mapping[int, float], is_ended: Callable[[], bool]
) -> Result:
    """Judge by a formula; what is below a limit is given up."""
    value = judged(asked)
    below = value < limits.get(100, -math.inf)
    return Result(dict(asked), value, value, 7, {100: value}, not below)


def search(
    folder: Path, trials: int = 11, jobs: int = 2, by=judge, objective: str = "average_precision",
    at_ms: int = 1, claims: str = "c",
) -> History:  # fmt: skip
    found = StudySearch(
        folder, trials=trials, jobs=jobs, objective=objective, at_ms=at_ms, seed=7
    )  # fmt: skip
    return found({"claims": claims}, FIRST, SPACE, by, lambda *_: None)


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_the_number_of_jobs_makes_no_difference(tmp_path: Path) -> None:
    one, three = search(tmp_path / "a", jobs=1), search(tmp_path / "b", jobs=3)
    assert one == three
    assert len(one.results) == 12
    assert one.results[0].asked == FIRST
    assert any(not each.is_finished for each in one.results)
    best = max(each.value for each in one.results)
    assert best > one.results[0].value


def test_a_search_that_was_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole")
    calls: list[float] = []

    def ends(
        asked: Mapping[str, float], limits: Mapping[int, float], is_ended: Callable[[], bool]
    ) -> Result:
        calls.append(asked["eta"])
        if len(calls) == 7:
            raise KeyboardInterrupt
        return judge(asked, limits, is_ended)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "ended", jobs=1, by=ends)
    kept = file_of(tmp_path / "ended")
    with kept.open("ab") as file:  # as a kill in the middle of a write leaves it
        file.write(b'{"op_code":4,"user_attrs":{"claim')
    calls.clear()

    def counts(*each) -> Result:
        calls.append(1)
        return judge(*each)

    assert search(tmp_path / "ended", by=counts) == whole
    assert len(calls) == 12 - 6
    calls.clear()
    longer = search(tmp_path / "ended", trials=17, by=counts)
    assert longer.results[:12] == whole.results
    assert longer == search(tmp_path / "other", trials=17)
    assert len(calls) == 6


CHILD = """
import sys, time
from pathlib import Path
from tests.training.fitting import test_search as tests

def slowly(asked, limits, is_ended):
    time.sleep(0.05)
    return tests.judge(asked, limits, is_ended)

tests.search(Path(sys.argv[1]), by=slowly)
"""


def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)])
    until = time.monotonic() + 60
    while time.monotonic() < until:
        paths = list(folder.glob("*.jsonl"))
        if paths and paths[0].read_bytes().count(b"\n") >= 6:
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = file_of(folder).read_bytes()
    assert kept.count(b"\n") >= 4
    assert search(folder) == search(tmp_path / "whole")
    assert file_of(folder).read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


def test_a_later_search_starts_from_the_best_of_earlier_ones(tmp_path: Path) -> None:
    first = search(tmp_path)
    best = max((each for each in first.results if each.is_finished), key=lambda each: each.value)
    second = search(tmp_path, claims="more", at_ms=2)
    assert second.warm_from == [first.study]
    assert second.results[1].asked == best.asked
    assert search(tmp_path, claims="more", at_ms=2) == second
    assert search(tmp_path, claims="more", at_ms=2, objective="money").warm_from == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "[]\n" + text,
        lambda text: text.replace('"op_code":4', '"op_code":1', 1),
        lambda text: text.replace('"is_finished":true', '"is_finished":"yes"', 1),
        lambda text: text.replace('"max_depth":', '"max_depth":9', 1),
        lambda text: text.replace('"rounds":7', '"rounds":0', 1),
        lambda text: text.replace('"study_name":', '"name":', 1),
        lambda text: text[: text.index("\n") + 1] + "[" * 100_000 + "\n",
        lambda text: "\n" + text,
        lambda text: text.replace('"eta":0.01,', '"eta":0.02,'),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    search(tmp_path, trials=3)
    path = file_of(tmp_path)
    text = path.read_text()
    assert spoil(text) != text
    path.write_text(spoil(text))
    with pytest.raises(StateError, match="file of a search is damaged") as caught:
        search(tmp_path, trials=3)
    assert caught.value.where == str(path)
    assert "remove the file" in caught.value.hint
    assert search(tmp_path, trials=3, claims="others").warm_from in ([], [path.stem])


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tmp_path, trials=3)
    monkeypatch.setattr(study_file, "MOST_BYTES", 100)
    with pytest.raises(StateError, match="more than 100 bytes"):
        search(tmp_path, trials=3)


def test_the_file_is_plain_json_by_lines_that_optuna_reads(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    found = search(tmp_path, trials=3)
    path = file_of(tmp_path)
    assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    study = optuna.load_study(study_name=found.study, storage=storage)
    assert [each.value for each in study.trials if each.state.name == "COMPLETE"] == [
        each.value for each in found.results if each.is_finished
    ]


def test_without_optuna_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="isn't installed") as caught:
        check_installed()
    assert "claimtrace[tune]" in caught.value.hint


def real_judge(*, money: bool = False) -> tuple[Judge, list[tuple[Rows, Rows]]]:
    dataset, fold = two_features()
    pairs = pairs_of(dataset, [fold], 7)
    panels = panels_of(dataset, [fold], 7, 2.0) if money else None
    space = {"max_depth": SPACE["max_depth"], "eta": SPACE["eta"]}
    return Judge({"rounds": 150}, space, pairs, panels, SEARCHED["xgboost"], 7), pairs


def test_a_trial_below_the_median_of_earlier_ones_is_given_up() -> None:
    real, _ = real_judge()
    asked = {"max_depth": 3.0, "eta": 0.1}
    whole = real(asked, {}, never_ended)
    assert whole.is_finished
    assert whole.average_precision == pytest.approx(whole.value, rel=1e-5)
    assert list(whole.looks) == [look_of(0, 100)]
    assert real(asked, {100: whole.looks[100]}, never_ended) == whole
    given_up = real(asked, {100: whole.looks[100] + 0.001}, never_ended)
    assert not given_up.is_finished
    assert given_up.looks == whole.looks
    with pytest.raises(Ended):
        real(asked, {}, lambda: True)
    few = [Result({}, 0, 0, 1, {100: 1.0}, is_finished=True)] * (FEWEST - 1)
    assert limits_of(few) == {}


def test_settings_have_three_digits_and_the_users_own_stay() -> None:
    real, _ = real_judge()
    assert real.settings({"max_depth": 3.0, "eta": 0.123456}) == {
        "rounds": 150, "max_depth": 3, "eta": 0.123,
    }  # fmt: skip
    assert rounded({"max_bin": 2047.0}, SPACE) == {"max_bin": 2047}
