"""The search for settings by Optuna, with a file of trials from which it goes on after a kill.

Optuna draws in memory, with a sampler that is seeded anew for each batch. So what it draws depends
on the trials before alone: a search that goes on asks for the same trials as one that was never
ended, and takes the results of those that are in the file.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from claimtrace.adapters.files.folder_lock import FolderLock
from claimtrace.errors import ClaimtraceError, ConfigError, StateError
from claimtrace.ids import digest_of

from ..fitting.search import BATCH, SPACE, History, Range, Result, limits_of
from .study_file import MARK, Found, Header, Start, broken, read_study

MOST_EARLIER = 5
"""Earlier searches whose best settings are tried first."""


def check_installed() -> None:
    """Find out whether a search can be made, before anything is read.

    Raises:
        ConfigError: Optuna isn't installed; the hint has the line that installs it.
    """
    _optuna()


class StudySearch:
    """A search whose trials are kept in a folder; see `training.fitting.search.Search`.

    Fits run side by side in threads, which XGBoost leaves free while it works.

    Args:
        folder: the folder of searches; made if missing, and locked during a search.
        trials: settings to try beyond the built-in choice.
        jobs: how many are tried at the same time; makes no difference to the result.
        objective, at_ms: for the file, so that later searches can start from this one.
        seed: the seed of the draws.
    """

    def __init__(
        self, folder: Path, *, trials: int, jobs: int, objective: str, at_ms: int, seed: int
    ) -> None:
        self._folder, self._trials, self._jobs = folder, trials, jobs
        self._objective, self._at_ms, self._seed = objective, at_ms, seed

    def __call__(
        self,
        identity: Mapping[str, object],
        first: Mapping[str, float],
        space: Mapping[str, Range],
        judge: Callable[[Mapping[str, float], Mapping[int, float], Callable[[], bool]], Result],
        told: Callable[[int, float], None],
    ) -> History:
        """Search, or go on with a search.

        Raises:
            ConfigError: Optuna isn't installed.
            StateError: the search's file is damaged, or another process is at it.
        """
        optuna = _optuna()
        name = digest_of({
            **identity, "optuna": optuna.__version__, "seed": self._seed, "batch": BATCH,
            "objective": self._objective,
            "space": {name: list(each) for name, each in space.items()}, "first": dict(first),
        })[:16]  # fmt: skip
        path = self._folder / f"{name}.jsonl"
        with FolderLock(self._folder):
            path.with_name(path.name + ".lock").unlink(missing_ok=True)  # of a process killed
            found = read_study(path, space)
            is_new = found is None
            if found is None:
                path.unlink(missing_ok=True)
                found = Found(Header(self._objective, self._at_ms, self._earlier(path, space)), [])
            journal = _Journal(optuna, path, name, found, space, is_new=is_new)
            results = self._run(optuna, first, space, judge, told, found, journal)
        return History(results, name, [each.study for each in found.header.warm])

    def _run(
        self, optuna: Any, first: Mapping[str, float], space: Mapping[str, Range], judge: Any,
        told: Callable[[int, float], None], found: Found, journal: _Journal,
    ) -> list[Result]:  # fmt: skip
        results, known = list[Result](), found.results
        study = optuna.create_study(direction="maximize")
        for start in (dict(first), *(each.asked for each in found.header.warm)):
            study.enqueue_trial({name: _typed(start[name], space[name]) for name in space
                                 if name in start})  # fmt: skip
        ended = threading.Event()
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                while len(results) < self._trials + 1:
                    size = min(BATCH, self._trials + 1 - len(results))
                    limits = limits_of(results)
                    study.sampler = _sampler(optuna, self._seed, len(results))
                    trials = [_asked(optuna, study, space) for _ in range(size)]
                    drawn = [{n: float(v) for n, v in each.params.items()} for each in trials]
                    ready = known[len(results) : len(results) + size]
                    journal.check(ready, drawn)
                    futures = [
                        pool.submit(judge, each, limits, ended.is_set)
                        for each in drawn[len(ready) :]
                    ]
                    for place, trial in enumerate(trials):
                        if place < len(ready):
                            result = ready[place]
                        else:
                            result = futures[place - len(ready)].result()
                            journal.add(result)
                        _tell(optuna, study, trial, result)
                        results.append(result)
                        told(len(results), best_value(results))
            except BaseException:
                ended.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return results

    def _earlier(self, own: Path, space: Mapping[str, Range]) -> list[Start]:
        """Return the best settings of earlier searches for the same objective, the newest first.

        One that is damaged is left alone.
        """
        earlier = []
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                found = read_study(path, SPACE) if path != own else None
            except StateError:
                continue
            if found is None or found.header.objective != self._objective:
                continue
            finished = [each for each in found.results if each.is_finished]
            if finished:
                best = max(finished, key=lambda each: each.value)
                asked = {n: v for n, v in best.asked.items() if n in space}
                earlier.append((-found.header.at_ms, path.stem, asked))
        starts = list[Start]()
        for _, study, asked in sorted(earlier, key=lambda each: each[:2]):
            if asked and asked not in [each.asked for each in starts]:
                starts.append(Start(study, asked))
        return starts[:MOST_EARLIER]


def best_value(results: list[Result]) -> float:
    """Return the best value among finished trials."""
    return max((each.value for each in results if each.is_finished), default=float("nan"))


class _Journal:
    """Optuna's journal of a search, to which finished trials are added one by one."""

    def __init__(
        self, optuna: Any, path: Path, name: str, found: Found, space: Mapping[str, Range],
        *, is_new: bool,
    ) -> None:  # fmt: skip
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        self._optuna, self._path, self._space = optuna, path, space
        lock = JournalFileOpenLock(str(path))
        try:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
            if is_new:
                self._study = optuna.create_study(
                    storage=storage, study_name=name, direction="maximize"
                )
                self._study.set_user_attr(MARK, msgspec.to_builtins(found.header))
            else:
                self._study = optuna.load_study(storage=storage, study_name=name)
        except (OSError, ClaimtraceError):
            raise
        except Exception as error:  # whatever Optuna makes of bytes that aren't its own
            raise broken(path, f"{type(error).__name__}: {error}") from error

    def check(self, known: list[Result], drawn: list[dict[str, float]]) -> None:
        """Refuse results of other trials than those that are drawn."""
        for result, asked in zip(known, drawn, strict=False):
            if result.asked != asked:
                raise broken(self._path, "it holds other trials than this search draws")

    def add(self, result: Result) -> None:
        """Write a trial, and wait until it is on the disk."""
        states = self._optuna.trial.TrialState
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=states.COMPLETE if result.is_finished else states.PRUNED,
                value=result.value,
                params={n: _typed(v, self._space[n]) for n, v in result.asked.items()},
                distributions={n: _distribution(self._optuna, self._space[n])
                               for n in result.asked},
                intermediate_values=result.looks,
                user_attrs={MARK: msgspec.to_builtins(result, str_keys=True)},
            )
        )  # fmt: skip


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "a search for settings needs Optuna, which isn't installed", where="--tune",
            hint='pip install "claimtrace[tune]"',
        ) from None  # fmt: skip
    logging.getLogger("optuna").setLevel(logging.ERROR)
    return optuna


def _sampler(optuna: Any, seed: int, done: int) -> Any:
    """Return a sampler whose draws depend on the seed and on the trials before alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the options are called experimental
        return optuna.samplers.TPESampler(
            seed=seed * 1_000_003 + done, multivariate=True, constant_liar=True, n_startup_trials=8
        )


def _asked(optuna: Any, study: Any, space: Mapping[str, Range]) -> Any:
    """Ask for a trial and draw all its parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return study.ask({name: _distribution(optuna, each) for name, each in space.items()})


def _tell(optuna: Any, study: Any, trial: Any, result: Result) -> None:
    if result.is_finished:
        study.tell(trial, result.value)
        return
    for look, value in result.looks.items():
        trial.report(value, look)
    study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _distribution(optuna: Any, each: Range) -> Any:
    kinds = optuna.distributions
    if each.whole:
        return kinds.IntDistribution(int(each.low), int(each.high), log=each.log)
    return kinds.FloatDistribution(each.low, each.high, log=each.log)


def _typed(value: float, each: Range) -> float | int:
    return int(value) if each.whole else value
