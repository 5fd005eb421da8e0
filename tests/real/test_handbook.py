"""1,504,628 payments through the whole line: every feature exact, and the published table again."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from benchmarks.line import Line, peak_mb
from claimtrace.clock import DAY_MS
from claimtrace.settings.schema import Settings, TrainingSettings
from claimtrace_examples.card_payments import DOMAIN
from featurestore.definitions.catalogue import describe
from featurestore.offline.tables import DECISIONS, DEFINITIONS, definitions_rows
from models.registry.adapters.folder import FolderRegistry
from stream.adapters.embedded.file_journal import read_plans
from tests.oracles.handbook_protocol import mean_of, prequential
from tests.worlds.handbook import (
    TRAIN_STARTS,
    expected_features,
    read_transactions,
    served_vectors,
    write_log,
)
from tests.worlds.real_data import BESIDE, needs
from training.fitting.fitters import FITTERS
from training.pipeline import train

DATA = BESIDE / "handbook"
PARTITIONS = 4
PAYMENTS, FRAUDS = 1_504_628, 12_484
PUBLISHED = {"auc": 0.871, "average precision": 0.694, "card precision@100": 0.304}
WITHIN = 0.003

pytestmark = [
    pytest.mark.real,
    pytest.mark.long,
    needs("handbook"),
]


@pytest.fixture(scope="module")
def payments():
    return read_transactions(DATA)


@pytest.fixture(scope="module")
def streamed(payments, tmp_path_factory):
    """The line after all events; it tells time and memory under `pytest -s`."""
    line = Line.open(
        tmp_path_factory.mktemp("handbook"), DOMAIN, partitions=PARTITIONS, remember_days=40
    )
    records = write_log(payments, line.log, PARTITIONS)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    driver = line.run()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(f"\n{records} records in {wall_s:.1f} s ({records / wall_s:,.0f} a second),"
          f" {1e6 * cpu_s / records:.1f} us of CPU each, peak {peak_mb():.0f} MB")  # fmt: skip
    yield line, driver.counts
    line.close()


@pytest.fixture(scope="module")
def served(streamed, payments):
    line, _ = streamed
    return served_vectors(line.offline(), payments)


def test_every_event_is_taken_once(streamed, payments):
    line, counts = streamed
    assert (counts.claims, counts.labels, counts.records) == (PAYMENTS, FRAUDS, PAYMENTS + FRAUDS)
    assert counts.dead == counts.duplicates == counts.late == counts.unmatched_labels == 0
    plans = list(read_plans(line.folder / "journal"))
    planned = sum(span.to_position - span.from_position for p in plans for span in p.ranges)
    assert planned == counts.records
    assert line.offline().dataset(DECISIONS).count_rows() == PAYMENTS


def test_all_features_equal_the_oracle(served, payments):
    expected = expected_features(payments)
    assert served.shape == expected.shape == (PAYMENTS, 15)
    differing = {
        name: int(np.count_nonzero(served[:, i] != expected[:, i]))
        for i, name in enumerate(DOMAIN.feature_names)
    }
    assert differing == dict.fromkeys(DOMAIN.feature_names, 0)


def test_the_published_table_from_served_vectors(served, payments):
    starts_ms = [round(pd.Timestamp(day).timestamp() * 1000) for day in TRAIN_STARTS]
    assert all(start % DAY_MS == 0 for start in starts_ms)
    weeks = prequential(
        served,
        payments.second.to_numpy() * 1000,
        payments.CUSTOMER_ID.to_numpy(),
        payments.TX_FRAUD.to_numpy() == 1,
        train_starts_ms=starts_ms,
        fitter=FITTERS["xgboost"],
    )
    assert (weeks[0].train_rows, weeks[0].train_frauds) == (67_240, 598)
    assert (weeks[0].test_rows, weeks[0].test_frauds) == (58_264, 385)
    found = dict(zip(PUBLISHED, mean_of(weeks), strict=True))
    print("\n" + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    assert found == pytest.approx(PUBLISHED, abs=WITHIN)


@pytest.mark.timeout(1200)
def test_card_payments_can_be_trained(streamed, tmp_path):
    """Every card lives longer than any time span, and only frauds are reported."""
    line, _ = streamed
    features = [(row.name, row.kind, row.text) for row in describe(DOMAIN)]
    rows = definitions_rows(DOMAIN.definitions_digest, DOMAIN.name, features)
    line.offline().append(DEFINITIONS, rows, writer="definitions", version=1)
    settings = Settings(
        domain="claimtrace_examples.card_payments",
        training=TrainingSettings(assume_legit_after="7d"),
    )
    at_ms = round(pd.Timestamp("2018-10-15").timestamp() * 1000)
    registry = FolderRegistry(tmp_path, DOMAIN.name)
    report = train(line.offline(), registry, settings, at_ms=at_ms)
    print(f"\naverage precision {report.evaluation.average_precision}, AUC {report.evaluation.auc},"
          f" {peak_mb():.0f} MB")  # fmt: skip
    assert report.promoted
    assert report.evaluation.average_precision.value > 0.75
