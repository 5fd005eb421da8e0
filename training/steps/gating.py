"""The step about gates: collect what speaks for and against the release, and decide."""

from __future__ import annotations

from ..checks.contract import contract_gate
from ..checks.leaks import leak_gate
from ..release.gates import decide
from ..release.model_gates import kernel_gate, latency_gate, size_gate
from ..release.publish import recent_rows
from ..release.quality_gates import calibration_gate, quality_gate, stability_gate
from ..run import TrainingRun


def collect_gates(run: TrainingRun) -> None:
    """Collect all gates, and decide whether the version takes charge.

    Quality is that of the judged model on the test; the trees are those of the released one. A step
    that somebody puts in appends a gate of its own to `run.extra_gates`.
    """
    panel, limits = run.panel, run.settings.gates
    times, margins = run.dataset.event_times_ms[panel.rows], run.margins[panel.rows]
    model, rows = run.released.model_json, recent_rows(run.dataset, run.split)
    run.gates = [
        *run.extra_gates,
        *([contract_gate(run.contract)] if run.contract else ()),
        *([leak_gate(run.leaks)] if run.leaks else ()),
        *([run.bias.gate] if run.bias else ()),
        quality_gate(run.verdict),
        calibration_gate(
            panel.labels, run.calibration.probabilities(margins), limits, panel.weights
        ),
        stability_gate(times, panel.labels, margins, limits),
        kernel_gate(model, run.dataset.matrix[rows]),
        latency_gate(model, limits),
        size_gate(model, run.released.rounds, limits),
    ]
    run.decision = decide(
        run.gates, run.verdict, promote=run.settings.training.promote,
        four_eyes=run.settings.approval.four_eyes,
    )  # fmt: skip
