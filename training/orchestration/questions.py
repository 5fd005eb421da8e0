"""Questions to the offline store that triggers ask, as SQL."""

from __future__ import annotations

from featurestore.definitions.verdicts import LATEST_FIRST, RETRACTION
from featurestore.offline.tables import DECISIONS, DRIFT, LABELS
from models.artefact import Manifest

from ..release.publish import fitted_until_ms


def new_labels_query(definitions: str, from_ms: int, mature_until_ms: int, now_ms: int) -> str:
    """Return SQL for the mature verdicts that a champion hasn't learned from.

    Columns: labels, frauds. Counted are claims under the definitions with an event time within
    `from_ms` .. `mature_until_ms`, whose verdict was known by `now_ms`.
    """
    literal = "'" + definitions.replace("'", "''") + "'"
    return f"""
WITH verdicts AS (
  SELECT * FROM (
    SELECT claim_id, is_fraud FROM {LABELS}
    WHERE (is_fraud IS NOT NULL OR outcome = '{RETRACTION}') AND known_time_ms <= {now_ms}
    QUALIFY row_number() OVER (PARTITION BY claim_id ORDER BY {LATEST_FIRST}) = 1
  ) WHERE is_fraud IS NOT NULL
), claims AS (
  SELECT DISTINCT claim_id FROM {DECISIONS}
  WHERE definitions = {literal} AND event_time_ms BETWEEN {from_ms} AND {mature_until_ms}
)
SELECT count(*) AS labels, count(*) FILTER (is_fraud) AS frauds
FROM verdicts JOIN claims USING (claim_id)""".strip()  # noqa: S608


def drift_query(name: str, version: int, most: int = 400) -> str:
    """Return SQL for the last drift records of a model, in the order of time."""
    literal = "'" + name.replace("'", "''") + "'"
    return f"""
SELECT record_json FROM (
  SELECT DISTINCT window_end_ms, record_json FROM {DRIFT}
  WHERE model_name = {literal} AND model_version = {version}
  ORDER BY window_end_ms DESC LIMIT {most}
) ORDER BY window_end_ms""".strip()  # noqa: S608


def delay_ms_of(manifest: Manifest) -> int:
    """Return the age in ms from which a version's training took verdicts to be mature; 0: unknown.

    It is the time between the end of its test and what was known then.
    """
    at_ms = manifest.lineage.get("dataset", {}).get("at_ms", 0)
    test_end_ms = manifest.lineage.get("split", {}).get("test_end_ms", at_ms)
    return max(0, int(at_ms) - int(test_end_ms))


def unlearned_from_ms(manifest: Manifest) -> int:
    """Return the event time in ms from which a version has learned from no claim."""
    return fitted_until_ms(manifest)
