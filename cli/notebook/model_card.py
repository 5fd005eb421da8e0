"""A version of the model for notebooks: its manifest, state and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .cards import card
from .explained import time_text

if TYPE_CHECKING:
    import pandas as pd

    from models.artefact import Manifest
    from models.registry.registry import ModelRegistry

_MOST_METRICS = 12


class ModelCard:
    """A published version; a notebook shows it as a table.

    Attributes:
        version: its number.
        label: name and number.
        digest: of its manifest.
        manifest: everything it was published with: features, thresholds, metrics, lineage.
        state: pending, approved, rejected or retired.
        aliases: those that point to it; the champion decides.
    """

    def __init__(self, registry: ModelRegistry, version: int) -> None:
        artefact, log = registry.load(version), registry.approvals()
        self.version, self.label = artefact.ref.version, artefact.ref.label
        self.digest = artefact.ref.digest
        self.manifest: Manifest = artefact.manifest
        self.state = str(log.states()[version])
        self.aliases = sorted(name for name, at in log.aliases().items() if at == version)

    @property
    def metrics(self) -> pd.Series[float]:
        """The numbers of the evaluation by their paths, such as `test.pr_auc`."""
        import pandas as pd

        found: dict[str, float] = {}
        _numbers(msgspec.to_builtins(self.manifest.metrics), "", found)
        return pd.Series(found, dtype="float64")

    def __repr__(self) -> str:
        return "\n".join(
            [self.label, *(f"  {name:<10} {'  '.join(map(str, cell))}" for name, *cell in
                           ((f[0], *f[1:]) for f in self._facts()))]
        )  # fmt: skip

    def _repr_html_(self) -> str:
        metrics = self.metrics
        shown = [(name, f"{value:.4g}") for name, value in metrics.head(_MOST_METRICS).items()]
        left = len(metrics) - len(shown)
        more = [(f"{left:,} more: .metrics",)] if left else []
        return card(self.label, [("facts", self._facts()), ("metrics", [*shown, *more])])

    def _facts(self) -> list[tuple[str, str]]:
        m = self.manifest
        return [
            ("state", ", ".join([self.state, *self.aliases])),
            ("made", time_text(m.created_at_ms)),
            ("features", f"{len(m.features)}"),
            ("refer", f"from {m.thresholds.refer:.4f} on, {m.capacity_per_day:g} claims a day"),
            ("review", f"from {m.thresholds.review:.4f} on"),
            ("digest", self.digest[:12]),
        ]


def _numbers(part: object, path: str, found: dict[str, float]) -> None:
    if isinstance(part, dict):
        for name, value in part.items():
            _numbers(value, f"{path}.{name}" if path else str(name), found)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        found[path] = float(part)


def models_frame(registry: ModelRegistry) -> pd.DataFrame:
    """Return the versions of a registry, a row each, the oldest first."""
    import pandas as pd

    from models.registry.approval import failed_gates

    log = registry.approvals()
    states, aliases = log.states(), log.aliases()
    rows = []
    for ref in registry.versions():
        m = registry.load(ref).manifest
        named = sorted(name for name, at in aliases.items() if at == ref.version)
        rows.append((ref.name, ref.version, str(states[ref.version]), ", ".join(named),
                     m.created_at_ms, m.thresholds.refer, m.thresholds.review, m.capacity_per_day,
                     failed_gates(m.metrics), ref.digest))  # fmt: skip
    columns = ["name", "version", "state", "aliases", "made", "refer", "review", "capacity_per_day",
               "failed_gates", "digest"]  # fmt: skip
    found = pd.DataFrame(rows, columns=columns)
    made = pd.to_datetime(found["made"].astype("int64"), unit="ms", utc=True)
    words = dict.fromkeys(("name", "state", "aliases", "digest"), "string")
    return found.assign(made=made).astype({"version": "Int64", **words})
