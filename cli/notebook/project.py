"""A folder opened for a notebook; nothing in it is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import msgspec

from claimtrace.decisions import DECISIONS_TOPIC, GENESIS, SealedDecision, chain_of, check_seal
from claimtrace.errors import UsageError

from ..wiring.workspace import CHAMPION, Workspace
from .cards import card
from .explained import Explained, FeatureText
from .frames import Filter, Time, Words, frame, rows_of, vectors_frame
from .looks import looked, looks_frame
from .model_card import ModelCard, models_frame

if TYPE_CHECKING:
    import pandas as pd

_BESIDE_VECTORS: Final = ("claim_id", "event_time_ms", "known_time_ms", "score", "outcome",
                          "model_version", "policy_key", "amount_cents", "definitions",
                          "features")  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


class Project:
    """A folder of claimtrace, to read: tables as pandas, decisions in words, looks at claims.

    Tables come from the offline store, which a worker appends to now and then and when it ends, so
    the newest minutes of a running one may be missing there. `explain`, `claim` and `look` read
    the embedded log and the journal themselves.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._workspace.folder

    @property
    def claim_id_field(self) -> str:
        """The name of the field of a claim that has its id, such as `claim_id`."""
        return self._workspace.domain.claim.id_field

    def decisions(
        self,
        *,
        outcome: Words | None = None,
        since: Time | None = None,
        until: Time | None = None,
        claim_id: Words | None = None,
        policy: Words | None = None,
        model_version: int | Sequence[int] | None = None,
        min_score: float | None = None,
        last: int | None = None,
    ) -> pd.DataFrame:
        """Return decisions, a row each, in the order of the log.

        Args:
            outcome: `approve`, `review` or `refer`, or a list of them.
            since, until: bounds of the event time: from `since` on, before `until`.
            claim_id, policy: a text, or a list of them; a policy as the domain's key has it.
            model_version: a number, or a list of them.
            min_score: at least this score.
            last: at most so many, the newest.

        Returns:
            The columns of the table `decisions` but the vector: times are UTC, cents `Int64`,
            scores `float64`; `flags` and `rules` are lists.
        """
        from featurestore.offline.tables import DECISIONS, SCHEMAS

        wanted = _decisions_filter(outcome, since, until, claim_id, policy, model_version,
                                   min_score)  # fmt: skip
        columns = [name for name in SCHEMAS[DECISIONS].names if name != "features"]
        return frame(rows_of(self._workspace.offline, DECISIONS, wanted, columns, last))

    def vectors(
        self,
        *,
        outcome: Words | None = None,
        since: Time | None = None,
        until: Time | None = None,
        claim_id: Words | None = None,
        policy: Words | None = None,
        model_version: int | Sequence[int] | None = None,
        min_score: float | None = None,
        last: int | None = None,
        definitions: str | None = None,
    ) -> pd.DataFrame:
        """Return served vectors with a column for each feature, as the model saw them.

        Args:
            outcome, since, until, claim_id, policy, model_version, min_score, last: as for
                `decisions`.
            definitions: a digest of definitions; by default that of the newest decision. Vectors
                of others have other columns, and are left out.

        Returns:
            The features as `float64`, NaN where missing, behind the claim, its times, score,
            outcome and amount.
        """
        from featurestore.offline.adapters.feature_names import feature_names
        from featurestore.offline.tables import DECISIONS, newest_digest_query

        store = self._workspace.offline
        if definitions is None and DECISIONS in store.tables():
            newest = store.sql(newest_digest_query())
            definitions = str(newest["definitions"][0]) if newest.num_rows else None
        wanted = _decisions_filter(outcome, since, until, claim_id, policy, model_version,
                                   min_score).words("definitions", definitions)  # fmt: skip
        found = rows_of(store, DECISIONS, wanted, _BESIDE_VECTORS, last)
        names = feature_names(store, definitions) if definitions is not None else []
        return vectors_frame(found, names)

    def labels(
        self,
        *,
        claim_id: Words | None = None,
        outcome: Words | None = None,
        since: Time | None = None,
        until: Time | None = None,
        known_by: Time | None = None,
        last: int | None = None,
    ) -> pd.DataFrame:
        """Return outcomes of investigations, a row each as it arrived.

        Args:
            claim_id, outcome: a text, or a list of them.
            since, until: bounds of the time of the verdict.
            known_by: only what was known at this time.
            last: at most so many, the newest.

        Returns:
            The columns of the table `labels`; `is_fraud` is `boolean`, missing where the outcome
            is neither fraud nor legitimate.
        """
        from featurestore.offline.tables import LABELS, SCHEMAS

        wanted = Filter().words("claim_id", claim_id).words("outcome", outcome)
        wanted.between("decided_at_ms", since, until).known_by("known_time_ms", known_by)
        columns = SCHEMAS[LABELS].names
        return frame(rows_of(self._workspace.offline, LABELS, wanted, columns, last))

    def sql(self, query: str) -> pd.DataFrame:
        """Return the rows of one read-only statement in DuckDB's SQL over the offline store.

        The tables are those of `claimtrace offline tables`, and the view `vectors`.
        """
        return frame(self._workspace.offline.sql(query))

    def explain(self, claim_id: str) -> Explained:
        """Return the decision on a claim in words, from its sealed bytes on the log.

        Raises:
            UsageError: there is none, or the log is on Kafka or Kinesis.
        """
        sealed, before = self._sealed(claim_id)
        decision = msgspec.json.decode(sealed, type=SealedDecision)
        proof = "the seal follows from the decision before it"
        if not check_seal(sealed, before):
            proof = "THE SEAL IS BROKEN: bytes of this decision, or the one before it, were changed"
        return Explained(decision, self._feature_texts(decision.definitions), proof)

    def claim(self, claim_id: str) -> dict[str, Any]:
        """Return the fields of a claim that was decided on, as they came over the log.

        Raises:
            UsageError: there is no decision on it, the log is on Kafka or Kinesis, or the claim
                is not JSON.
        """
        place = msgspec.json.decode(self._sealed(claim_id)[0], type=SealedDecision)
        with self._transport() as transport:
            at = transport.records_from(place.topic, place.partition, place.position)
            value = next(iter(at)).value or b""
        try:
            return msgspec.json.decode(value, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError("the claim isn't JSON on the log", where=claim_id,
                             hint="it was framed by a schema registry") from error  # fmt: skip

    @overload
    def look(
        self, claim: Mapping[str, Any], *, model: int | None = None, at_plan: int | None = None
    ) -> Explained: ...
    @overload
    def look(
        self, claim: Sequence[Mapping[str, Any]], *, model: int | None = None,
        at_plan: int | None = None,
    ) -> pd.DataFrame: ...  # fmt: skip
    def look(
        self,
        claim: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        model: int | None = None,
        at_plan: int | None = None,
    ) -> Explained | pd.DataFrame:
        """Say what would be decided on a claim now, or on each of a list; nothing is written.

        The state is rebuilt in this process from the folder's snapshot and journal. The folder
        stays as it is, but for a note under `state/checked` that the model has passed its
        self-check.

        Args:
            claim: the fields of a claim with an id of its own, or a list of such.
            model: the number of another version that is to decide alone.
            at_plan: with the state after this plan of the journal; by default as it is now.

        Returns:
            The advisory decision; for a list a row for each claim, in their order: `outcome` is
            missing where `refused` says why.

        Raises:
            UsageError: the one claim would be refused, or is decided already.
        """
        claims = [claim] if isinstance(claim, Mapping) else list(claim)
        self._transport().close()
        answers = looked(self._workspace, claims, model, at_plan)
        if not isinstance(claim, Mapping):
            return looks_frame(claims, answers, self.claim_id_field)
        answer = answers[0]
        if isinstance(answer, str):
            raise UsageError(answer, where="claim")
        return Explained(answer, self._feature_texts(answer.definitions))

    @property
    def models(self) -> pd.DataFrame:
        """The versions of the model, a row each, the oldest first."""
        return models_frame(self._workspace.registry)

    def model(self, version: int | None = None) -> ModelCard:
        """Return a version of the model; by default the champion, which decides.

        Raises:
            UsageError: there is no such version, or no champion.
        """
        workspace = self._workspace
        if version is not None:
            return ModelCard(workspace.registry, workspace.published(version).version)
        champion = workspace.registry.alias(CHAMPION)
        if champion is None:
            raise UsageError("no model is in charge", where=workspace.domain.name,
                             hint="claimtrace train makes one")  # fmt: skip
        return ModelCard(workspace.registry, champion.version)

    def __repr__(self) -> str:
        return f"<claimtrace project {str(self.folder)!r}>"

    def _repr_html_(self) -> str:
        workspace = self._workspace
        store = workspace.offline
        rows = [(name, f"{store.count(name):,} rows") for name in sorted(store.tables())]
        champion = workspace.registry.alias(CHAMPION)
        facts = [("folder", self.folder), ("domain", workspace.domain.name),
                 ("log", _log_name(workspace)),
                 ("champion", champion.label if champion else "none")]  # fmt: skip
        return card("claimtrace project", [("", facts), ("tables", rows)])

    def _transport(self) -> Any:
        from ..transports.choice import open_transport

        workspace = self._workspace
        if workspace.settings.source != "local":
            raise UsageError(
                f"this needs the log, which is on {_log_name(workspace)}: only an embedded log is "
                "read here", where=workspace.settings.source,
                hint="decisions(), vectors(), labels(), sql() and models work; for the rest ask a "
                "running `claimtrace serve` by claimtrace.client",
            )  # fmt: skip
        return open_transport(workspace)

    def _sealed(self, claim_id: str) -> tuple[bytes, str]:
        """Return the bytes of a decision, and the chain before it."""
        if not isinstance(claim_id, str):
            raise UsageError("a claim's id is text", where=repr(claim_id)[:80])
        needle = b'"claim_id":' + _encode(claim_id)
        with self._transport() as transport:
            for partition in range(transport.partitions(DECISIONS_TOPIC)):
                before = b""
                for record in transport.records(DECISIONS_TOPIC, partition):
                    value = record.value or b""
                    if needle in value:  # a text in JSON has its quotes escaped
                        return value, chain_of(before) if before else GENESIS
                    before = value
        raise UsageError("there is no decision on this claim", where=claim_id,
                         hint="perhaps it isn't decided yet, or became a dead letter")  # fmt: skip

    def _feature_texts(self, definitions: str) -> list[FeatureText]:
        domain = self._workspace.domain
        if definitions == domain.definitions_digest:
            from featurestore.definitions.catalogue import describe

            return [FeatureText(row.name, row.how, row.text) for row in describe(domain)]
        from featurestore.offline.adapters.feature_names import feature_names

        return [FeatureText(name, "", "")
                for name in feature_names(self._workspace.offline, definitions)]  # fmt: skip


def _log_name(workspace: Workspace) -> str:
    source = workspace.settings.source
    if source == "local":
        return "embedded"
    return {"kinesis": "Kinesis", "kafka": "Kafka"}.get(source.partition("://")[0], source)


def _decisions_filter(
    outcome: Words | None,
    since: Time | None,
    until: Time | None,
    claim_id: Words | None,
    policy: Words | None,
    model_version: int | Sequence[int] | None,
    min_score: float | None,
) -> Filter:
    wanted = Filter().words("outcome", outcome).words("claim_id", claim_id)
    wanted.words("policy_key", policy).numbers("model_version", model_version)
    return wanted.between("event_time_ms", since, until).at_least("score", min_score)
