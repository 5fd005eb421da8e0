"""Mirror versions to an MLflow server through its REST API; no client of MLflow is needed.

Each version is a run of the experiment with the model's name, with metrics, parameters and files,
and a version of the registered model. What was written before is found by the tag
`claimtrace.digest`. MLflow numbers versions itself; ours stands in the tag `claimtrace.version`.

Source: https://mlflow.org/docs/latest/api_reference/rest-api.html (paths and fields).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from claimtrace.errors import ModelError

from ..contents import Mirrored
from .http_json import HttpJson

_API: Final = "/api/2.0/mlflow"
_PROXIED: Final = "mlflow-artifacts:"
_PREFIX: Final = "claimtrace."
_MOST_PAGES: Final = 100
_BATCH: Final = 100


_LONGEST: Final = 2000
T = TypeVar("T")


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _Version(msgspec.Struct):
    version: int
    tags: list[_Tag] = []

    def texts(self) -> dict[str, str]:
        return {tag.key: tag.value for tag in self.tags}


class _Page(msgspec.Struct):
    model_versions: list[_Version] = []
    next_page_token: str | None = None


class _Alias(msgspec.Struct):
    alias: str
    version: int


class _Registered(msgspec.Struct):
    aliases: list[_Alias] = []


class MlflowMirror:
    """The registered model of one name on an MLflow server.

    Args:
        server: the MLflow server.
        name: of the registered model and of the experiment.
        note: told what could not be mirrored although the rest was.
    """

    def __init__(self, server: HttpJson, name: str, note: Callable[[str], None]) -> None:
        self._server, self._name, self._note = server, name, note

    def push(self, versions: Sequence[Mirrored], aliases_ever: Sequence[str] = ()) -> list[str]:
        """Write versions, states and aliases; returns a line for each thing that was changed.

        Args:
            versions: of the registry, oldest first.
            aliases_ever: all aliases that the registry ever set; one that isn't set any more is
                taken away. Other aliases on the server are left alone.

        Raises:
            ConfigError, StoreUnavailable, ModelError: the server isn't there, or refuses.
        """
        done: list[str] = []
        experiment = self._experiment()
        if self._server.get(f"{_API}/registered-models/get", {"name": self._name}) is None:
            self._post("registered-models/create", name=self._name,
                       description="Mirror of claimtrace's registry; written one way.")  # fmt: skip
        theirs = self._versions()
        for each in versions:
            digest = each.ref.digest
            if digest not in theirs:
                theirs[digest] = self._create(each, experiment)
                done.append(f"{each.ref.label} is version {theirs[digest].version} of {self._name}")
            done += self._tag(each, theirs[digest])
        return done + self._set_aliases(versions, theirs, aliases_ever)

    def _experiment(self) -> str:
        found = self._server.get(f"{_API}/experiments/get-by-name",
                                 {"experiment_name": self._name})  # fmt: skip
        if found is not None:
            return str(_dict(found, "experiment").get("experiment_id", ""))
        return str(self._post("experiments/create", name=self._name).get("experiment_id", ""))

    def _create(self, each: Mirrored, experiment: str) -> _Version:
        """Write the run and its files, then the version; the version comes last."""
        info = self._run(each, experiment)
        run_id, place = str(info.get("run_id", "")), str(info.get("artifact_uri", ""))
        if info.get("status") != "FINISHED":
            self._log(each, run_id)
            self._upload(each, place)
            self._post("runs/update", run_id=run_id, status="FINISHED",
                       end_time=each.created_at_ms)  # fmt: skip
        answer = self._post(
            "model-versions/create", name=self._name, source=f"{place}/model", run_id=run_id,
            description=f"{each.ref.label}, mirrored from claimtrace",
            tags=_pairs({f"{_PREFIX}digest": each.ref.digest}),
        )  # fmt: skip
        return _as(_Version, _dict(answer, "model_version"))

    def _run(self, each: Mirrored, experiment: str) -> dict[str, Any]:
        """Return the run of a version; one that an interrupted mirroring has begun is continued."""
        wanted = f"tags.`{_PREFIX}digest` = '{each.ref.digest}'"
        found = self._post("runs/search", experiment_ids=[experiment], filter=wanted, max_results=1)
        runs = found.get("runs")
        if isinstance(runs, list) and runs:
            return _dict(runs[0], "info")
        answer = self._post(
            "runs/create", experiment_id=experiment, start_time=each.created_at_ms,
            run_name=each.ref.label, tags=_pairs({f"{_PREFIX}digest": each.ref.digest}),
        )  # fmt: skip
        return _dict(_dict(answer, "run"), "info")

    def _log(self, each: Mirrored, run_id: str) -> None:
        rows = [
            {"key": key, "value": value, "timestamp": each.created_at_ms, "step": 0}
            for key, value in each.metrics.items()
        ]
        for first in range(0, len(rows), _BATCH):
            self._post("runs/log-batch", run_id=run_id, metrics=rows[first : first + _BATCH])
        self._post("runs/log-batch", run_id=run_id, params=_pairs(each.params))

    def _upload(self, each: Mirrored, place: str) -> None:
        if not place.startswith(_PROXIED):
            self._note(f"{each.ref.label}: the server takes no files ({place[:100]}); start it "
                       "with --serve-artifacts and --artifacts-destination")  # fmt: skip
            return
        root = "/api/2.0/mlflow-artifacts/artifacts/" + place.partition(":")[2].lstrip("/")
        files = {**each.files, **{f"{kind.replace(' ', '_')}.json": report.content
                                  for kind, report in each.reports.items()}}  # fmt: skip
        for name, content in files.items():
            self._server.put(f"{root}/model/{name}", content)

    def _versions(self) -> dict[str, _Version]:
        """Return the versions that a mirror wrote, the first of each digest."""
        found: dict[str, _Version] = {}
        token = ""
        for _ in range(_MOST_PAGES):
            query = {"filter": f"name='{self._name}'", "max_results": str(_BATCH)}
            answer = self._server.get(f"{_API}/model-versions/search",
                                      query | ({"page_token": token} if token else {}))  # fmt: skip
            page = _as(_Page, answer or {})
            for each in page.model_versions:
                digest = each.texts().get(f"{_PREFIX}digest")
                if digest and (digest not in found or each.version < found[digest].version):
                    found[digest] = each
            token = page.next_page_token or ""
            if not token:
                return found
        raise ModelError("the server never ends its list of versions", where=self._name)

    def _tag(self, each: Mirrored, theirs: _Version) -> list[str]:
        """Write the tags that differ; returns a line if the state has changed."""
        decision, before, done = each.decision, theirs.texts(), []
        tags = {
            **{name if "digest" in name else f"{name}_digest": value
               for name, value in each.digests.items()},
            "version": str(each.ref.version),
            "state": decision.state,
            "decided_by": decision.actor[:_LONGEST],
            "reason": decision.reason[:_LONGEST],
        }  # fmt: skip
        for name, value in tags.items():
            if before.get(f"{_PREFIX}{name}", "") != value:
                self._post("model-versions/set-tag", name=self._name, version=str(theirs.version),
                           key=f"{_PREFIX}{name}", value=value)  # fmt: skip
                if name == "state" and f"{_PREFIX}state" in before:
                    done.append(f"{each.ref.label} is {value}")
        return done

    def _set_aliases(
        self, versions: Sequence[Mirrored], theirs: dict[str, _Version], ever: Sequence[str]
    ) -> list[str]:
        answer = self._server.get(f"{_API}/registered-models/get", {"name": self._name}) or {}
        rows = _as(_Registered, _dict(answer, "registered_model")).aliases
        before = {row.alias: row.version for row in rows}
        wanted = {
            alias: theirs[each.ref.digest].version for each in versions for alias in each.aliases
        }
        done = []
        for alias, number in wanted.items():
            if before.get(alias) != number:
                self._post("registered-models/alias", name=self._name, alias=alias,
                           version=str(number))  # fmt: skip
                done.append(f"{alias} is version {number} of {self._name}")
        for alias in sorted((set(ever) & before.keys()) - wanted.keys()):
            self._server.send("DELETE", f"{_API}/registered-models/alias",
                              {"name": self._name, "alias": alias})  # fmt: skip
            done.append(f"{alias} is withdrawn")
        return done

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._server.post(f"{_API}/{path}", body)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _dict(thing: Any, name: str) -> dict[str, Any]:
    found = thing.get(name) if isinstance(thing, dict) else None
    if not isinstance(found, dict):
        raise ModelError(f"the server's answer has no {name}", hint="is this an MLflow server?")
    return found


def _as(kind: type[T], answer: dict[str, Any]) -> T:
    try:
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ModelError(f"the server's answer isn't MLflow's: {error}") from error
