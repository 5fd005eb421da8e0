"""Steps about claims: read them, and split them into those to learn from and those to judge by."""

from __future__ import annotations

from contextlib import suppress

from claimtrace.clock import duration_ms, time_ms
from claimtrace.errors import UsageError

from ..data.dataset import load_dataset, with_assumed
from ..data.maturity import maturity_of
from ..data.queries import Sample
from ..data.split import Split, split_by_policy, split_by_time
from ..release.publish import CHAMPION, fitted_until_ms
from ..run import TrainingRun


def collect(run: TrainingRun) -> None:
    """Read the served vectors, and the verdicts known at `at_ms`."""
    chosen = run.settings.training
    run.dataset = load_dataset(
        run.offline, run.at_ms, max_rows=chosen.most_rows, sample=Sample(chosen.sample, run.seed)
    )
    if chosen.sample < 1:
        read = len(run.dataset.labels)
        run.notes.append(
            f"read {read:,} claims: all known frauds, and a share of {chosen.sample:g} of the "
            f"others, which stand for {run.dataset.counted(~run.dataset.is_fraud):,}"
        )
    if after := run.settings.training.assume_legit_after:
        run.dataset = with_assumed(run.dataset, duration_ms(after))
        assumed = run.dataset.lineage["assumed_legit"]
        run.notes.append(f"{assumed:,} claims without an outcome after {after} count as legitimate")
    run.maturity = maturity_of(run.dataset)


def split(run: TrainingRun) -> None:
    """Split the data set into claims to learn from and claims to judge by.

    Unless the settings say where the test begins, it begins where the champion's knowledge ends, if
    enough verdicts have come since: then both models are judged by claims that neither has seen.
    """
    chosen, maturity = run.settings.training, run.maturity
    run.champion = run.registry.alias(CHAMPION)
    if chosen.split == "group":
        run.split = split_by_policy(
            run.dataset, maturity, min_frauds=chosen.min_frauds,
            test_share=chosen.test_share, seed=chosen.seed,
        )  # fmt: skip
        return

    def at(test_start_ms: int | None) -> Split:
        return split_by_time(
            run.dataset, maturity, min_frauds=chosen.min_frauds,
            test_share=chosen.test_share, test_start_ms=test_start_ms,
        )  # fmt: skip

    run.split = at(time_ms(chosen.test_from) if chosen.test_from else None)
    learned_until_ms = fitted_until_ms(run.registry.load(CHAMPION).manifest) if run.champion else 0
    if not chosen.test_from and learned_until_ms > run.split.test_start_ms:
        with suppress(UsageError):  # too few verdicts since
            run.split = at(learned_until_ms)
