"""Provide the steps that all peers share: decode a claim, its own features, score, explain, encode.

Each step is the fastest known, so that peers differ only in how they read records, keep state and
send decisions. A peer's environment has numpy, msgspec, XGBoost and the peer; nothing of claimtrace
is imported.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import signal
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.windows import DAY_MS, NAN

FEATURES: Final = 40
OWN: Final = 18
"""Features that come from the claim alone; they are the first ones of the vector."""

REASONS: Final = 6
RECENT, REFRESH = 2000, 500
"""After each `REFRESH` decisions the threshold is set from the last `RECENT` ones."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SEVERITY: Final = {"Minor": 0.0, "Major": 1.0, "Totaled": 2.0}
POLICE: Final = {"No": 0.0, "Yes": 1.0}
INCIDENTS: Final = {
    "Collision": (1.0, 0.0, 0.0), "Break-In": (0.0, 1.0, 0.0), "Theft": (0.0, 0.0, 1.0)
}  # fmt: skip
COLLISIONS: Final = {
    "Front": (1.0, 0.0, 0.0, 0.0), "Rear": (0.0, 1.0, 0.0, 0.0),
    "Side": (0.0, 0.0, 1.0, 0.0), "N/A": (0.0, 0.0, 0.0, 1.0),
}  # fmt: skip


class Job(msgspec.Struct):
    """The job of a peer, in a file of JSON.

    A peer works until it gets a SIGTERM; its decisions and its CPU are observed from outside. A
    claim is referred, and explained, when its margin is among the highest `referred_ratio` of the
    last claims. The model's own threshold isn't used: a peer without all features would refer
    another share of the claims, and reasons are the most expensive step.
    """

    bootstrap: str
    source: str
    output: str
    model: str
    referred_ratio: float
    folder: str


class Fact(msgspec.Struct, gc=False):
    """A claim or, where `adjudication_id` is set, a label: the fields that features need."""

    claim_id: str
    filed_at: datetime = EPOCH
    incident_at: datetime = EPOCH
    policy_id: str = ""
    vin: str = ""
    repair_shop_id: str = ""
    phone: str = ""
    other_party_phone: str | None = None
    bank_account: str = ""
    incident_type: str = ""
    collision_type: str = ""
    incident_severity: str = ""
    police_report_available: str = ""
    num_vehicles_involved: float | None = None
    num_injuries: float | None = None
    num_witnesses: float | None = None
    injury_claim_cents: int = 0
    vehicle_claim_cents: int = 0
    total_claim_cents: int = 0
    incident_hour: float | None = None
    adjudication_id: str = ""
    decided_at: datetime = EPOCH
    outcome: str = ""


class Reason(msgspec.Struct, gc=False):
    """A feature's contribution to the score."""

    feature: int
    value: float
    contribution: float


class Decision(msgspec.Struct, gc=False):
    """A decision, with the vector that was scored; missing values are null."""

    claim_id: str
    score: float
    margin: float
    outcome: str
    reasons: list[Reason]
    features: list[float]


decode: Final = msgspec.json.Decoder(Fact).decode
encode: Final = msgspec.json.Encoder().encode


def to_ms(when: datetime) -> int:
    """Convert a time to milliseconds since 1970 UTC, exact for times of whole milliseconds."""
    return round(when.timestamp() * 1000)


def own_features(claim: Fact, time_ms: int) -> list[float]:
    """Compute the first 18 features of the vector.

    >>> claim = Fact("c", total_claim_cents=250, injury_claim_cents=50, incident_type="Theft")
    >>> own_features(claim, 43_200_000)[0], own_features(claim, 43_200_000)[9:12]
    (2, [0.0, 0.0, 1.0])
    >>> own_features(claim, 43_200_000)[16:]
    [0.2, 0.5]
    """
    total, injury = claim.total_claim_cents, claim.injury_claim_cents
    return [
        total // 100,
        injury // 100,
        claim.vehicle_claim_cents // 100,
        _or_missing(claim.num_vehicles_involved),
        _or_missing(claim.num_injuries),
        _or_missing(claim.num_witnesses),
        _or_missing(claim.incident_hour),
        SEVERITY.get(claim.incident_severity, NAN),
        POLICE.get(claim.police_report_available, NAN),
        *INCIDENTS.get(claim.incident_type, (0.0, 0.0, 0.0)),
        *COLLISIONS.get(claim.collision_type, (0.0, 0.0, 0.0, 0.0)),
        injury / total if total else NAN,
        (time_ms - to_ms(claim.incident_at)) / DAY_MS,
    ]


def policy_features(past: list[list[int]], now_ms: int) -> list[float]:
    """Compute features 18 to 22 from [time, cents] of a policy's claims in 365 days, in order.

    >>> policy_features([[0, 100], [400 * DAY_MS, 300]], 401 * DAY_MS)
    [1, 2, 400, 200.0, 1.0]
    """
    month_ms, total = now_ms - 30 * DAY_MS, sum(cents for _, cents in past)
    return [
        sum(time_ms > month_ms for time_ms, _ in past),
        len(past),
        total,
        total / len(past) if past else NAN,
        (now_ms - past[-1][0]) / DAY_MS if past else NAN,
    ]


def _or_missing(value: float | None) -> float:
    return NAN if value is None else value


class Model:
    """The canonical model on XGBoost, on one thread."""

    def __init__(self, job: Job) -> None:
        import xgboost

        self.version = xgboost.__version__
        self._matrix = xgboost.DMatrix
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(job.model)
        self._booster.set_param({"nthread": 1})
        self._referred_ratio = job.referred_ratio
        self._refer_margin = math.inf
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._refresh_at = REFRESH
        self.referred = self.decided = self.emitted = 0
        """`decided` counts since the first threshold was set, `emitted` counts all."""

    def decide(self, claim_ids: list[str], vectors: list[list[float]]) -> list[bytes]:
        """Score a batch and explain its referred rows, a call each; returns encoded decisions."""
        rows = np.array(vectors, dtype=np.float32)
        margins = self._booster.inplace_predict(rows, predict_type="margin")
        picked = np.flatnonzero(margins >= self._refer_margin)
        reasons = dict(zip(picked.tolist(), self._explain(rows[picked]), strict=True))
        said = margins.tolist()
        self._recent += said
        if self._refer_margin < math.inf:
            self.referred += len(picked)
            self.decided += len(vectors)
        self.emitted += len(vectors)
        if self.emitted >= self._refresh_at:
            self._refresh_at += REFRESH
            self._refer_margin = float(np.quantile(self._recent, 1 - self._referred_ratio))
        return [
            encode(Decision(claim_id, 1.0 / (1.0 + math.exp(-margin)), margin,
                            "refer" if i in reasons else "approve", reasons.get(i, []), vector))
            for i, (claim_id, vector, margin) in enumerate(
                zip(claim_ids, vectors, said, strict=True)
            )
        ]  # fmt: skip

    def score(self, claim_ids: list[str], vectors: list[list[float]]) -> list[bytes]:
        """Score a batch without reasons; returns encoded decisions."""
        rows = np.array(vectors, dtype=np.float32)
        margins = self._booster.inplace_predict(rows, predict_type="margin").tolist()
        self.emitted += len(vectors)
        return [
            encode(Decision(claim_id, 1.0 / (1.0 + math.exp(-margin)), margin, "approve", [], []))
            for claim_id, margin in zip(claim_ids, margins, strict=True)
        ]

    def _explain(self, rows: NDArray[np.float32]) -> list[list[Reason]]:
        if len(rows) == 0:
            return []
        shares = self._booster.predict(self._matrix(rows, nthread=1), pred_contribs=True)[:, :-1]
        largest = np.argsort(-np.abs(shares), axis=1)[:, :REASONS]
        return [
            [Reason(f, v, c) for f, v, c in zip(top.tolist(), row[top].tolist(),
                                               share[top].tolist(), strict=True)]
            for top, row, share in zip(largest, rows, shares, strict=True)
        ]  # fmt: skip


def stop_asked() -> Callable[[], bool]:
    """Catch SIGTERM from now on; returns a function that tells whether one came."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    return lambda: bool(asked)


def rare_collections() -> None:
    """Make Python's cycle collector run rarely; it would double the cost of many windows."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def read_job() -> Job:
    """Read the job from the file named by `PEER_JOB` (for Faust) or by the last argument."""
    path = os.environ.get("PEER_JOB") or sys.argv[-1]
    return msgspec.json.decode(Path(path).read_bytes(), type=Job)


def peak_mb() -> float:
    """The peak memory of this process, in MB (10**6 bytes), without that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def tell(model: Model, versions: dict[str, str]) -> None:
    """Print a peer's figures as a line of JSON, at its end."""
    found: dict[str, Any] = {
        "referred_ratio": model.referred / max(1, model.decided),
        "emitted": model.emitted,
        "peak_mb": peak_mb(),
        "versions": {"python": platform.python_version(), "xgboost": model.version, **versions},
    }
    print(json.dumps(found), flush=True)
