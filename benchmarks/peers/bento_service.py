"""The canonical model in BentoML: one row of 40 numbers in, its probability out.

    PEER_MODEL=model.json bentoml serve benchmarks.peers.bento_service:Scores

Runs in BentoML's own environment. Requests that come together are predicted together.
"""

from __future__ import annotations

import os

import bentoml
import numpy as np
import xgboost


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Scores:
    """A booster that predicts rows."""

    def __init__(self) -> None:
        self._booster = xgboost.Booster(params={"nthread": 1})
        self._booster.load_model(os.environ["PEER_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=256, max_latency_ms=10_000)
    def score(self, rows: np.ndarray) -> np.ndarray:
        """Predict the rows of a batch of requests."""
        return self._booster.inplace_predict(rows, validate_features=False)
