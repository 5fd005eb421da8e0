"""The ground room, imported by all: events, decisions, dead letters' reasons, errors, clock.

Reading order of the repository: `events`, `encoding.decoder`, `decisions` here; then
`featurestore.definitions.features` and `featurestore.windows.aggregates`; then
`stream.engine.engine` and `stream.worker.driver`; then `training.pipeline`.
"""

from .adapters.process.kernel_cache import use_versioned_cache

__version__ = "0.2.0"

use_versioned_cache()
