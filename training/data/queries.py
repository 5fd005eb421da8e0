"""SQL of a training run over the offline store: the claims, and how many there are.

A sample is drawn while the store is scanned, by a hash of the claim's id and the seed: it holds all
known frauds and, of all other claims, those whose hash falls into the share. Rows outside of it are
never held in memory, and the same share of the same store is the same sample on every machine.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from featurestore.definitions.verdicts import LATEST_FIRST, RETRACTION
from featurestore.offline.tables import DECISIONS, LABELS

NEVER_MS: Final = -1
"""The value of `label_known_ms` for claims without a verdict."""

_DIGITS: Final = 15


class Sample(NamedTuple):
    """The share of the claims not known as frauds that is read, above 0, at most 1, and the seed.

    >>> Sample(0.5, 7).drawn_sql
    "substr(sha256('7 ' || claim_id), 1, 15) < '800000000000000'"
    """

    share: float
    seed: int

    @property
    def drawn_sql(self) -> str:
        """The condition that draws a claim by its id."""
        if self.share >= 1:
            return "true"
        limit = f"{int(self.share * 16**_DIGITS):0{_DIGITS}x}"
        return f"substr(sha256('{self.seed} ' || claim_id), 1, {_DIGITS}) < '{limit}'"


EVERYTHING: Final = Sample(1.0, 0)


def claims_query(digest: str, at_ms: int, sample: Sample = EVERYTHING) -> str:
    """Return the SQL query of a data set; it is recorded in the model's lineage.

    A claim whose last verdict is fraud is in every sample; `drawn` says whether it would have been
    drawn by its hash as well, so that the drawn rows alone are a fair sample of all claims.
    """
    taken = _taken(digest, at_ms, sample)
    # Vectors are joined last, by position: window functions over rows with vectors would copy them.
    # The condition stands twice, so that neither side of that join holds more than the sample.
    return f"""
WITH {_verdicts(at_ms, sample)}, firsts AS (
  SELECT claim_id, event_time_ms, topic, partition, position FROM {DECISIONS}
  WHERE {taken}
  QUALIFY row_number() OVER (PARTITION BY claim_id
    ORDER BY log_time_ms, topic, partition, position) = 1
)
SELECT claim_id, d.event_time_ms, d.features,
  coalesce('policy ' || d.policy_key, 'claim ' || claim_id) AS group_key,
  CAST(d.amount_cents AS DOUBLE) AS amount_cents,
  CAST(list_contains(d.flags, 'unseen_category') AS BIGINT) AS unseen,
  CAST(v.is_fraud AS DOUBLE) AS label,
  coalesce(v.known_time_ms, {NEVER_MS}) AS label_known_ms,
  coalesce(v.decided_at_ms, {NEVER_MS}) AS decided_at_ms,
  {sample.drawn_sql} AS drawn
FROM firsts JOIN (
  SELECT claim_id, topic, partition, position, event_time_ms, features, policy_key, amount_cents,
    flags
  FROM {DECISIONS} WHERE {taken}
) AS d USING (claim_id, topic, partition, position)
LEFT JOIN verdicts AS v USING (claim_id)
ORDER BY d.event_time_ms, claim_id""".strip()  # noqa: S608


def rows_query(digest: str, at_ms: int, sample: Sample = EVERYTHING) -> str:
    """Return SQL for the number of decisions that a data set is read from: a bound of its claims.

    A claim that was decided twice counts twice; nothing but this number is held in memory.
    """
    return (
        f"WITH {_verdicts(at_ms, sample)} "  # noqa: S608
        f"SELECT count(*) AS rows FROM {DECISIONS} WHERE {_taken(digest, at_ms, sample)}"
    )


def counts_query(digest: str, at_ms: int, sample: Sample = EVERYTHING) -> str:
    """Return SQL for the number of claims of a data set, and of known frauds among them.

    Claims are told apart by 64 bits of a hash, which costs 8 bytes a claim instead of its id.
    """
    return (
        f"WITH {_verdicts(at_ms, EVERYTHING)} "  # noqa: S608
        "SELECT count(DISTINCT hash(claim_id)) AS claims, count(DISTINCT hash(claim_id)) "
        "FILTER (claim_id IN (SELECT claim_id FROM verdicts WHERE is_fraud)) AS frauds "
        f"FROM {DECISIONS} WHERE {_taken(digest, at_ms, sample)}"
    )


def _verdicts(at_ms: int, sample: Sample) -> str:
    """Return the last verdict of each claim that may be in the sample."""
    ever = f"SELECT claim_id FROM {LABELS} WHERE is_fraud"  # noqa: S608
    some = "" if sample.share >= 1 else f" AND ({sample.drawn_sql} OR claim_id IN ({ever}))"
    return f"""verdicts AS (
  SELECT * FROM (
    SELECT claim_id, is_fraud, known_time_ms, decided_at_ms FROM {LABELS}
    WHERE (is_fraud IS NOT NULL OR outcome = '{RETRACTION}') AND known_time_ms <= {at_ms}{some}
    QUALIFY row_number() OVER (PARTITION BY claim_id ORDER BY {LATEST_FIRST}) = 1
  ) WHERE is_fraud IS NOT NULL
)"""  # noqa: S608


def _taken(digest: str, at_ms: int, sample: Sample) -> str:
    """Return the condition on decisions of the data set."""
    literal = "'" + digest.replace("'", "''") + "'"
    known = f"definitions = {literal} AND known_time_ms <= {at_ms}"
    if sample.share >= 1:
        return known
    frauds = "SELECT claim_id FROM verdicts WHERE is_fraud"
    return f"{known} AND ({sample.drawn_sql} OR claim_id IN ({frauds}))"
