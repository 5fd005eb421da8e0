"""The assembly of looks: models that requests name, and who answers between two plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from claimtrace.clock import duration_ms

from .workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimtrace.decisions import ModelRef
    from models.scorer import Scorer
    from serving.adapters.looks.model_shelf import Registered
    from serving.adapters.looks.models import ModelService
    from serving.adapters.looks.service import LookService
    from stream.engine.engine import Engine

TIMEOUT_S: Final = 10.0
"""How long a look waits for a worker that is at work on something else, such as a store."""


class Looking:
    """Looks of one process.

    Args:
        workspace: settings, domain, registry.
    """

    def __init__(self, workspace: Workspace) -> None:
        from serving.adapters.looks.model_shelf import ModelShelf
        from serving.adapters.looks.models import ModelService
        from serving.adapters.looks.service import LookService

        serve = workspace.settings.serve
        registered, aliases = _registered(workspace)
        self._in_charge: Any = workspace.scorer_of
        self._shelf = ModelShelf(registered, serve.models, lambda ref: self._in_charge(ref))
        self.looks: LookService = LookService(
            serve.max_waiting, duration_ms(serve.max_behind), TIMEOUT_S, self._shelf,
            workspace.clock, workspace.domain,
        )  # fmt: skip
        self.models: ModelService = ModelService(registered, aliases, self._shelf, serve.models)

    def attach(self, engine: Engine) -> None:
        """Have an engine find the models on the shelf before it asks as it did."""
        self._in_charge = engine.scorers
        engine.scorers = self._shelf.scorer_of

    def close(self) -> None:
        """Refuse whoever waits and comes."""
        self.looks.close()
        self.models.close()


def _registered(workspace: Workspace) -> tuple[Registered, Any]:
    """Return the registry for threads beside the worker's, and a function of its aliases."""
    from models.fit import misfit
    from models.scorer import Scorer
    from serving.adapters.looks.model_shelf import Registered

    registry = workspace.new_registry()  # its own: the other is the worker's
    domain, digests = workspace.domain, workspace.feature_digests

    def why(ref: ModelRef) -> str:
        manifest = registry.load(ref).manifest
        found = misfit(manifest, domain.definitions_digest, digests)
        if found is None:
            return ""
        return (f"{ref.label} is of the definitions {manifest.definitions}, those of now are "
                f"{domain.definitions_digest}: {found.words}")  # fmt: skip

    def load(ref: ModelRef) -> Scorer:
        return Scorer.load(registry.load(ref))

    def aliases() -> Mapping[str, int]:
        return registry.aliases()

    return Registered(registry.versions, why, load), aliases
