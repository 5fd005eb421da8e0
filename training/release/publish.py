"""Publication of an evaluated model: the manifest with everything that the stream needs.

The version is published whatever the gates say, so that a failure can be examined and waived; only
the alias depends on the decision. The alias moves last, and only if it still points to the champion
that the new version was compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from claimtrace.decisions import ModelRef
from claimtrace.ids import digest, digest_of
from claimtrace.settings.schema import Settings
from models.artefact import Draft, Manifest, Thresholds
from models.baselines import build_baselines
from models.calibration import Calibration
from models.registry.approvals_log import MAX_TEXT_LENGTH, Entry
from models.registry.registry import ModelRegistry
from monitoring.windows.reference import Reference, build_reference

from ..data.dataset import Dataset
from ..data.split import Split
from ..evaluation.capacity import Threshold
from ..evaluation.evaluate import Evaluation
from ..fitting.choice import Choice
from ..fitting.fitters import Fitted
from .gate import Verdict
from .gates import Decision, Gate

CHAMPION: Final = "champion"


def recent_rows(dataset: Dataset, split: Split) -> NDArray[np.int64]:
    """Return the claims filed since the test began that the judged model hasn't seen.

    Thresholds are chosen on them and live windows are compared with them. Those without a verdict
    are among them, because live windows have such claims too; claims that were learned from aren't:
    their scores are too confident, and every live window would seem to drift.
    """
    if split.kind == "group":
        return split.panel
    return np.flatnonzero(dataset.event_times_ms >= split.test_start_ms)


def fair_rows(dataset: Dataset, split: Split) -> NDArray[np.int64]:
    """Return those of `recent_rows` whose distribution is that of all claims, without weights."""
    rows = recent_rows(dataset, split)
    return rows[dataset.fair[rows]]


def fitted_until_ms(manifest: Manifest) -> int:
    """Return the event time in ms before which a version has learned from claims; 0 if unknown."""
    return int(manifest.lineage.get("fitted_until_ms", 0))


def drift_reference(
    dataset: Dataset,
    split: Split,
    probabilities: NDArray[np.float64],
    refer_threshold: float,
    window_ms: int,
) -> Reference:
    """Build the drift reference of `recent_rows`; of a sample, of those that are a fair one.

    Verdicts count only up to the end of the test time, where they are a fair sample.

    Args:
        probabilities: float64[n], of all claims of the data set.
        refer_threshold: scores from here on are referred.
        window_ms: width of live windows, for the noise among windows.
    """
    rows = fair_rows(dataset, split)
    times = dataset.event_times_ms[rows]
    scores = probabilities[rows]
    return build_reference(
        dataset.features,
        dataset.matrix[rows],
        scores,
        scores >= refer_threshold,
        np.where(times < split.test_end_ms, dataset.labels[rows], np.nan),
        refer_threshold=refer_threshold,
        unseen=dataset.unseen[rows],
        event_times_ms=times,
        window_ms=window_ms,
    )


def build_draft(
    *,
    dataset: Dataset,
    split: Split,
    choice: Choice,
    judged: Fitted,
    released: Fitted,
    calibration: Calibration,
    reference: Reference,
    thresholds: Mapping[str, Threshold],
    evaluation: Evaluation,
    verdict: Verdict,
    gates: Sequence[Gate],
    settings: Settings,
    created_at_ms: int,
) -> Draft:
    """Build the manifest without name, version number and digests, which the registry adds."""
    refer, review = thresholds["refer"].value, thresholds["review"].value
    rows = fair_rows(dataset, split)
    return Draft(
        created_at_ms=created_at_ms,
        domain=settings.domain,
        definitions=dataset.definitions,
        features=list(dataset.features),
        calibration=calibration,
        thresholds=Thresholds(refer=refer, review=review),
        capacity_per_day=settings.decision.capacity_per_day,
        reference=msgspec.Raw(msgspec.json.encode(reference)),
        baselines=build_baselines(dataset.features, dataset.matrix[rows]),
        metrics={
            "evaluation": msgspec.to_builtins(evaluation),
            "verdict": msgspec.to_builtins(verdict),
            "gates": msgspec.to_builtins(gates),
            "thresholds": {name: msgspec.to_builtins(one) for name, one in thresholds.items()},
        },
        lineage=lineage_of(dataset, split, choice, judged, released),
    )


def lineage_of(
    dataset: Dataset, split: Split, choice: Choice, judged: Fitted, released: Fitted
) -> dict[str, Any]:
    """Describe the origin of a model: rows, split, choice, both fits, library versions."""
    times = dataset.event_times_ms
    parts = {"train": split.train, "test": split.test, "released": split.released}
    return {
        "dataset": dataset.lineage,
        "time_range_ms": [int(times[0]), int(times[-1])],
        "fitted_until_ms": int(times[split.released[-1]]) + 1,
        "split": {
            "kind": split.kind,
            "test_start_ms": split.test_start_ms,
            "test_end_ms": split.test_end_ms,
            "rows": {name: len(rows) for name, rows in parts.items()},
            "frauds": {name: int(np.sum(dataset.is_fraud[r])) for name, r in parts.items()},
            "lost": [msgspec.to_builtins(each) for each in split.lost],
            "claims_digest": digest_of(
                {name: [dataset.claim_ids[row] for row in rows] for name, rows in parts.items()}
            ),
        },
        "choice": [msgspec.to_builtins(each) for each in choice.tried],
        "judged": _fit_of(judged, split.train, "claims with a verdict when the test began"),
        "released": _fit_of(
            released, split.released,
            "every claim with a mature verdict, the test's too; so its trees differ from those of "
            "the judged model, with the same settings",
        ),
        "rounds": released.rounds,
        "params": released.params,
        "libraries": released.libraries,
    }  # fmt: skip


def _fit_of(fitted: Fitted, rows: NDArray[np.int64], words: str) -> dict[str, Any]:
    """Describe one fit: the digest of its trees, and what it learned from."""
    return {
        "model_digest": digest(fitted.model_json),
        "claims": len(rows),
        "rounds": fitted.rounds,
        "learned_from": words,
    }


def publish(
    registry: ModelRegistry,
    draft: Draft,
    model_json: bytes,
    decision: Decision,
    *,
    champion: ModelRef | None,
    actor: str,
    at_ms: int,
    attachments: Mapping[str, bytes] | None = None,
    run_id: str = "",
) -> ModelRef:
    """Publish a version, and make it champion if so decided; else it stays pending, and says why.

    A run that was killed in between finds the version that it has published, and does the rest.

    Args:
        champion: the champion that the gate compared with; None if there was none.
        attachments: further files of the version, such as its report, by their names.
        run_id: the run of the pipeline; empty: every call publishes a version.

    Raises:
        StateError: the champion was changed meanwhile; the version stays published.
    """
    evidence = digest_of(draft.metrics)
    trained = f"trained by run {run_id}" if run_id else "trained"
    reason = trained if decision.promote else f"{trained}; {decision.words}"[:MAX_TEXT_LENGTH]
    own = _own(registry.history(), reason, evidence) if run_id else []
    ref = _ref_of(registry, own) or registry.publish(
        draft, model_json, actor=actor, reason=reason, at_ms=at_ms, evidence=evidence,
        attachments=attachments,
    )  # fmt: skip
    if any(entry.act != "published" for entry in own):
        return ref  # what was decided about the version stands
    if decision.promote:
        registry.move_alias(
            CHAMPION,
            ref.version,
            actor=actor,
            reason=decision.words,
            at_ms=at_ms,
            expected=champion.version if champion else None,
            evidence=evidence,
        )
    return ref


def _own(entries: Sequence[Entry], reason: str, evidence: str) -> list[Entry]:
    """Return the entry by which a run has published its version, and those after it about it."""
    first = next((e for e in entries if e.act == "published" and e.reason == reason
                  and e.evidence == evidence), None)  # fmt: skip
    if first is None:
        return []
    return [e for e in entries if e.version == first.version and e.number >= first.number]


def _ref_of(registry: ModelRegistry, own: Sequence[Entry]) -> ModelRef | None:
    """Return the version that a run has published; None if it hasn't."""
    return registry.load(int(own[0].version or 0)).ref if own else None
