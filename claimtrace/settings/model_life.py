"""The settings of a model's life: training, gates, approval, roll-out, pipeline, mirrors."""

from __future__ import annotations

from typing import Literal

import msgspec


class GuardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits that a canary is given when it starts; they stand in its roll-out from then on."""

    window: str = "15m"
    """Width of the tiles that are judged, in event time; they wait for no late claims."""
    min_count: int = 100
    """Tiles with fewer claims are not judged."""
    referral_ratio: float = 1.5
    """The canary may refer this many times as many claims as the champion, or times fewer."""
    error_ratio: float = 0.001
    """Share of claims without a valid score that the canary may have more than the champion."""
    unseen_ratio: float = 0.05
    """Share of claims with a category that its training didn't have, beyond the share there."""
    score_psi: float = 0.25
    """PSI of the canary's scores against its training, beyond chance and beyond the champion's."""
    step_ratio: float = 2.0
    """The slowest batches may take this many times as long as before the roll-out; each worker
    judges its own."""


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch training job."""

    split: Literal["time", "group"] = "time"
    """How claims to judge by are held out: `time`, the newest; `group`, a share of the policies."""
    test_share: float = 0.25
    """Share of the claims with a mature verdict that a model is judged by."""
    test_from: str = ""
    """Date or time at which the test begins, such as `2026-03-01`; empty: by `test_share`."""
    assume_legit_after: str = ""
    """Where only frauds are reported: the age from which a claim without an outcome counts as
    legitimate, such as `30d`; empty: never."""
    min_frauds: int = 20
    """Minimum number of known frauds before the test and in it; with fewer no model is fitted."""
    sample: float = 1.0
    """Share of the claims not known as frauds that is read, by a hash of their id: the way past
    memory. Each then stands for 1/share claims; known frauds are read all."""
    most_rows: int = 2_000_000
    """Most claims that are read; with more, training asks for a sample. 80 features of 2 million
    are 1.3 GB."""
    directions: Literal["auto", "on", "off"] = "auto"
    """Whether models keep to what definitions say of a feature (`more="worse"`): `auto`, where it
    costs less than .005 average precision on the past."""
    tune: int = 0
    """Settings that a search tries beyond the built-in choice; 0: no search. Needs the extra
    `tune`."""
    tune_for: Literal["average_precision", "money"] = "average_precision"
    """What the search looks for: average precision, or the fraud money found at capacity."""
    tune_jobs: int = 2
    """Settings that are tried at the same time; makes no difference to the result."""
    contract: Literal["stop", "warn"] = "stop"
    """What to do where the data breaks its contract: end the training, or go on and say so."""
    contract_file: str = ""
    """Limits of your own for the data, in the form of constraints.json; empty: those of the data's
    own past only."""
    seed: int = 7
    """Seed of subsampling and intervals; the same seed gives the same model, byte for byte."""
    explain_baseline: Literal["tree", "legitimate", "all"] = "tree"
    """What explanations of the report compare a claim with: `tree`, what the trees saw in training,
    as on decisions; a group of claims, those known to be `legitimate`, or of `all` claims."""
    report: bool = True
    """Whether each version gets its report as an HTML page (some seconds)."""
    params: dict[str, float | int | str] = {}
    """Parameters for XGBoost that override the defaults and the choice by the data."""
    bias_limits: dict[str, float] = {}
    """Limits of bias metrics beside DI 0.8, DPPL 0.1, RD 0.05 and HRR 0.5: how far a difference may
    be from 0; the least of a ratio, whose inverse is the most. 0 is no limit of a ratio, 1 none of
    a difference."""
    promote: Literal["auto", "ask"] = "auto"
    """`auto`: a new version that passes all gates takes charge; `ask`: it waits for a person."""


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the gates that a new version must pass."""

    calibration_error_ratio: float = 0.5
    """Most that probabilities may be off on average, beyond chance, as a ratio of the share of
    frauds."""
    month_drop: float = 0.1
    """Most that the AUC of a month of the test may surely lie below that of all months."""
    scoring_steps: int = 10_000
    """Most comparisons that a score may take: the levels of all trees together."""
    splits: int = 100_000
    """Most splits of all trees: the reasons of a claim visit each."""
    trees: int = 2_000
    """Most trees that a model may have."""
    model_mib: int = 16
    """Most MiB of the model's JSON; no registry takes more than 64."""


class ApprovalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The people who may put a version in charge."""

    four_eyes: bool = False
    """Two people, by their accounts on the machine: who trained a version can't approve it, and who
    approved it can't promote it. `claimtrace train` then promotes nothing."""


class PipelineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Runs of the training pipeline, and what starts them while `pipeline watch` looks."""

    publish: Literal["always", "promoted"] = "always"
    """`promoted`: a version that the gate doesn't accept is not published; `always`: it is kept in
    the registry as rejected, so that it can be examined."""
    schedule: str = ""
    """When to train: a cron expression such as `0 2 * * 1`; empty: no schedule."""
    time_zone: str = "UTC"
    """The time zone of `schedule`, such as `Europe/Berlin`."""
    new_labels: int = 1000
    """Train when so many claims have a mature verdict that the champion hasn't learned from; 0:
    never for that."""
    on_alert: bool = True
    """Whether a drift alert about the champion starts a training."""
    on_change: bool = True
    """Whether other definitions or other code than the champion's start a training."""
    cool_down: str = "1d"
    """Least time between two runs; the schedule doesn't wait for it."""
    least_new_frauds: int = 20
    """New frauds with a mature verdict that an alert or new definitions wait for."""
    look_every: str = "60s"
    """Time between two looks of `pipeline watch`."""
    keep_runs: int = 10
    """Newest runs whose results of steps are kept, so that equal steps needn't run again."""


class MirrorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mirrors of the model registry, written after each training and by `models mirror`."""

    mlflow: str = ""
    """Address of an MLflow server, such as http://127.0.0.1:5000; empty: none. A name and password
    come from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""
    sagemaker: str = ""
    """s3://bucket/prefix for the files of SageMaker model packages; empty: no packages are made."""
    sagemaker_group: str = ""
    """Name of the model package group; empty: the domain's name."""
    sagemaker_image: str = ""
    """Container image that packages say they run on; empty: they can't be deployed there."""
