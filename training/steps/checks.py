"""Steps about the data's soundness: its contract before the fit, and leaks after the judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claimtrace.errors import ConfigError, ModelError, UsageError
from featurestore.definitions.features import WindowFeature
from monitoring.windows.reference import Reference, read_reference

from ..checks.constraints import Constraints
from ..checks.contract import Contract, contract_gate, contract_of
from ..checks.leaks import leaks_of
from ..release.publish import CHAMPION, fitted_until_ms
from ..run import TrainingRun

if TYPE_CHECKING:
    from featurestore.definitions.domain import Domain

_NAMED = 3


def contract(run: TrainingRun) -> None:
    """Check the newest claims against those before and the user's limits.

    Raises:
        UsageError: a limit is broken, and the settings say to stop.
        ConfigError: `training.contract_file` is set, but its limits weren't handed in.
    """
    chosen = run.settings.training
    if chosen.contract_file and run.limits is None:
        raise ConfigError("the limits of training.contract_file weren't read", where="train()")
    found = _compared(run)[0]
    run.contract = found
    if not found.violations:
        return
    if chosen.contract == "stop":
        shown = "; ".join(
            f"{each.feature_name}: {each.description} ({each.claims:,} claims"
            + (f", such as {', '.join(each.claim_ids[:_NAMED])}" if each.claim_ids else "") + ")"
            for each in found.violations[:_NAMED]
        )  # fmt: skip
        raise UsageError(
            f"the data breaks {len(found.violations)} of its limits: {shown}",
            where="data contract",
            hint="look at these claims; `claimtrace train --contract warn` goes on and says so in "
            "the report",
        )  # fmt: skip
    run.contract = msgspec.structs.replace(found, accepted=True)
    run.notes.append(contract_gate(run.contract).words)


def suggest(run: TrainingRun) -> Constraints:
    """Return the limits that the data's past suggests; needs the step `collect` only."""
    return _compared(run)[1]


def leaks(run: TrainingRun) -> None:
    """Look for features that know the verdict; the gate `leaks` keeps a model with one pending."""
    auc = run.evaluation.auc.value
    run.leaks = leaks_of(run.dataset, run.split.train, auc, run.seed)


def _compared(run: TrainingRun) -> tuple[Contract, Constraints]:
    since_ms, reference = _of_champion(run)
    moving = run.domain.moving_features if run.domain else frozenset()
    if run.domain and reference is None:
        times = run.dataset.event_times_ms
        moving |= warming_up(run.domain, int(times[-1] - times[0]))
    return contract_of(run.dataset, since_ms, reference, moving, run.limits)


def warming_up(domain: Domain, history_ms: int) -> frozenset[str]:
    """Return window features that still fill up in a history: it isn't twice as long as they reach.

    Their early values are small because the history is short, not because claims were others.
    """
    return frozenset(
        each.name
        for each in domain.features
        if isinstance(each, WindowFeature) and 2 * (each.width_ms + each.delay_ms) > history_ms
    )


def _of_champion(run: TrainingRun) -> tuple[int | None, Reference | None]:
    """Return until when the champion has learned, and its reference, if it has these features."""
    ref = run.registry.alias(CHAMPION)
    manifest = run.registry.load(CHAMPION).manifest if ref else None
    if manifest is None or manifest.definitions != run.dataset.definitions:
        return None, None
    try:
        return fitted_until_ms(manifest), read_reference(manifest.reference)
    except ModelError:  # of an older form: the claims before are the reference
        return fitted_until_ms(manifest), None
