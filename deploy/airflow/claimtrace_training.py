"""The training pipeline as a DAG of Airflow 3: one task a step.

Every task runs one step of the same run, which Airflow's own run id names. A task that is tried
again goes on where it was: what a step has done isn't done twice. The tasks need the folder of
claimtrace (the variable CLAIMTRACE_FOLDER) on a disk that all workers of the DAG share.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

STEPS = (
    "collect",
    "contract",
    "split",
    "choose",
    "judge",
    "calibrate",
    "evaluate",
    "leaks",
    "release",
    "thresholds",
    "bias",
    "gates",
    "reference",
    "explain",
    "report",
    "publish",
)
"""The order of `training.pipeline.STEPS`; a test compares them."""

with DAG(
    dag_id="claimtrace_training",
    schedule="0 2 * * 1",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
):
    tasks = [
        BashOperator(
            task_id=step,
            # the id is handed over as a variable: it is never part of the text that a shell reads
            bash_command=f'claimtrace pipeline run --run "$RUN_ID" --only {step}',
            env={"RUN_ID": "{{ run_id }}"},
            append_env=True,
            do_xcom_push=False,
        )
        for step in STEPS
    ]
    for before, after in pairwise(tasks):
        before >> after
