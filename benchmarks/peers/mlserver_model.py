"""The canonical model in MLServer: one row of 40 numbers in, its probability out.

Runs in MLServer's own environment, as `implementation` of a model whose `uri` is XGBoost's JSON. It
predicts in place, which is quicker than the runtime that MLServer has for XGBoost.
"""

from __future__ import annotations

import xgboost
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Booster(MLModel):
    """A booster that predicts rows."""

    async def load(self) -> bool:
        """Read the model."""
        self._booster = xgboost.Booster(params={"nthread": 1})
        self._booster.load_model(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict the rows of a request, or of a batch of requests."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        found = self._booster.inplace_predict(rows, validate_features=False).reshape(-1, 1)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("score", found)]
        )
