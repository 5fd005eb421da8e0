"""Options of `claimtrace train`: checked, and put into the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from claimtrace.errors import ConfigError, UsageError
from claimtrace.settings.loading import LEAST_CAPACITY, LEAST_SAMPLE, MOST_CAPACITY, MOST_TRIALS
from claimtrace.settings.schema import DecisionSettings, Settings

from ..mistakes import check_writable
from ..times import time_of
from .workspace import Workspace

if TYPE_CHECKING:
    from training.checks.constraints import Constraints
    from training.fitting.search import Search


def asked(
    settings: Settings, *, capacity: float | None = None, test_from: str | None = None,
    test_share: float | None = None, split: Literal["time", "group"] | None = None,
    sample: float | None = None, directions: Literal["auto", "on", "off"] | None = None,
    tune: int | None = None, tune_for: Literal["average_precision", "money"] | None = None,
    tune_jobs: int | None = None, contract: Literal["stop", "warn"] | None = None,
) -> Settings:  # fmt: skip
    """Return the settings with what the options say in their place.

    Raises:
        UsageError: a value is out of range, or two options contradict each other.
    """
    chosen = settings.training
    if test_from is not None and test_share is not None:
        raise UsageError("both say where the test starts", where="--test-from, --test-share",
                         hint="give one of them")  # fmt: skip
    if test_from is not None:
        time_of(test_from, "--test-from")
        chosen = msgspec.structs.replace(chosen, test_from=test_from)
    if test_share is not None:
        _check("the share", test_share, 0.05, 0.9, "--test-share", "write 0.25 for a quarter")
        chosen = msgspec.structs.replace(chosen, test_share=test_share, test_from="")
    if sample is not None:
        _check("the share", sample, LEAST_SAMPLE, 1.0, "--sample", "write 0.05 for a twentieth")
    if tune is not None:
        _check("the number of settings", tune, 0, MOST_TRIALS, "--tune", "write 30, say")
    if tune_jobs is not None:
        _check("the number of jobs", tune_jobs, 1, 64, "--tune-jobs", "write 2, say")
    options = {
        "split": split, "sample": sample, "directions": directions, "tune": tune,
        "tune_for": tune_for, "tune_jobs": tune_jobs, "contract": contract,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    chosen = msgspec.structs.replace(chosen, **given)
    if tune_for is not None and not chosen.tune:
        raise UsageError("there is no search to look for it", where="--tune-for",
                         hint="say how many settings to try: --tune 30")  # fmt: skip
    if chosen.split == "group" and chosen.test_from:
        raise UsageError("a split by policy has no time at which the test begins",
                         where="--test-from", hint="give --test-share")  # fmt: skip
    decision = settings.decision if capacity is None else _with_room(settings.decision, capacity)
    return msgspec.structs.replace(settings, training=chosen, decision=decision)


def limits_of(path: str) -> Constraints | None:
    """Read the user's own limits for the data; None if no file is named.

    Raises:
        ConfigError: the file can't be read, or holds no limits.
    """
    if not path:
        return None
    from training.checks.constraints import MOST_BYTES, read_constraints

    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"can't read the limits for the data: {error.strerror}", where=path,
            hint="name a file in training.contract_file; --contract-out writes one",
        ) from None  # fmt: skip
    return read_constraints(content, path)


def search_of(workspace: Workspace, settings: Settings, at_ms: int) -> Search | None:
    """Return the search that the settings ask for; None if they ask for none.

    Raises:
        ConfigError: Optuna isn't installed.
    """
    chosen = settings.training
    if not chosen.tune:
        return None
    from training.adapters.studies import StudySearch, check_installed

    check_installed()
    return StudySearch(
        _studies_folder(workspace), trials=chosen.tune, jobs=chosen.tune_jobs,
        objective=chosen.tune_for, at_ms=at_ms, seed=chosen.seed,
    )  # fmt: skip


def _studies_folder(workspace: Workspace) -> Path:
    """Return the folder of searches: beside the versions, or here where these are in a bucket."""
    models = workspace.models_folder
    return (models / workspace.domain.name if models else workspace.folder) / "studies"


def check_new(path: Path | None, suffix: str, what: str) -> None:
    """Refuse a file that can't be written, before the long work.

    Raises:
        UsageError: the name has another ending, the file exists, or its folder doesn't.
    """
    if path is None:
        return
    if path.suffix != suffix or path.exists():
        raise UsageError(f"{what} go to a new {suffix} file", where=str(path),
                         hint=f"name one that doesn't exist, such as {what}{suffix}")  # fmt: skip
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent),
                         hint=f"make it first, or name another place for the {what}")  # fmt: skip
    check_writable(path.parent)


def check_facets(workspace: Workspace, settings: Settings, *, mitigate: bool) -> None:
    """Refuse to compare mitigations where nothing is marked to compare, or on a sample.

    Raises:
        UsageError: the domain has no facets, or only a sample is read.
    """
    if mitigate and settings.training.sample < 1:
        raise UsageError("mitigations are compared on all claims, not on a sample",
                         where="--mitigate, --sample", hint="leave one of them out")  # fmt: skip
    if mitigate and not workspace.domain.facets:
        raise UsageError("the domain marks no facets to compare", where="--mitigate",
                         hint="add facets=(Facet(...),) to it: see docs/bias.md")  # fmt: skip


def _check(what: str, value: float, low: float, high: float, option: str, hint: str) -> None:
    if not low <= value <= high:
        raise UsageError(f"{what} {value:g} is not within {low:g} .. {high:,}", where=option,
                         hint=hint)  # fmt: skip


def _with_room(decision: DecisionSettings, capacity: float) -> DecisionSettings:
    if not LEAST_CAPACITY <= capacity <= MOST_CAPACITY:
        raise UsageError(f"the capacity {capacity:g} is not within {LEAST_CAPACITY:g} .. "
                         f"{MOST_CAPACITY:,}", where="--capacity",
                         hint="write how many claims can be investigated in a day")  # fmt: skip
    review = decision.review_per_day and max(decision.review_per_day, capacity)
    return msgspec.structs.replace(decision, capacity_per_day=capacity, review_per_day=review)
