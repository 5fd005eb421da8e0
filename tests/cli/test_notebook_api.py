"""`claimtrace.open`: a folder in Python, compared with what the commands say of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

import claimtrace as ct
from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DECISIONS_TOPIC, SealedDecision
from claimtrace.errors import StateError, UsageError
from claimtrace.looks import AdvisoryDecision
from cli.notebook import Project
from cli.notebook.explained import Explained, FeatureText
from cli.wiring.workspace import Workspace
from tests.compat.editions import copy_of
from tests.worlds.api_stand_in import a_decision
from tests.worlds.damaged_folder import EDITION, ask, contents, edition_domain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with edition_domain():
        found = copy_of(EDITION, tmp_path_factory.mktemp("notebook") / "claimtrace-data")
        assert ask(found, "models", "promote", "1", "--reason", "again").code == 0
        yield found


@pytest.fixture
def project(place: Path) -> Project:
    return ct.open(place)


@pytest.fixture(scope="module")
def sealed(place: Path) -> dict[str, SealedDecision]:
    """Every decision on the log, by claim."""
    found = {}
    log = EmbeddedLog(place / "log.db", to_read=True)
    for partition in range(log.topics()[DECISIONS_TOPIC]):
        for record in log.read(DECISIONS_TOPIC, partition, 0, 10_000):
            each = msgspec.json.decode(record.value or b"", type=SealedDecision)
            found[each.claim_id] = each
    log.close()
    return found


def test_decisions_are_those_on_the_log(
    project: Project, sealed: dict[str, SealedDecision]
) -> None:
    found = project.decisions()
    assert sorted(found["claim_id"]) == sorted(sealed)
    for row in found.itertuples():
        each = sealed[row.claim_id]
        assert (row.outcome, row.position, row.flags) == (each.outcome, each.position, each.flags)
        assert row.event_time == pd.Timestamp(each.event_time_ms, unit="ms", tz="UTC")
        assert row.score == each.score or (each.score is None and np.isnan(row.score))
    order = found[["log_time", "partition", "position"]]
    assert order.equals(order.sort_values(["log_time", "partition", "position"]))


def test_columns_have_sensible_types(project: Project) -> None:
    kinds = project.decisions().dtypes.astype(str)
    assert kinds["event_time"] == kinds["log_time"] == "datetime64[ms, UTC]"
    assert kinds["amount_cents"] == kinds["model_version"] == "Int64"
    assert (kinds["score"], kinds["outcome"]) == ("float64", "string")
    assert "features" not in kinds
    labels = project.labels().dtypes.astype(str)
    assert (labels["is_fraud"], labels["decided_at"]) == ("boolean", "datetime64[ms, UTC]")
    # the same types without any row, so that code on an empty answer goes on working
    none = project.decisions(claim_id="nobody")
    assert len(none) == 0
    assert none.dtypes.astype(str).equals(kinds)
    assert project.labels(claim_id="nobody").dtypes.astype(str).equals(labels)


@pytest.mark.parametrize(
    ("wanted", "keeps"),
    [
        ({"outcome": "refer"}, lambda d: d.outcome == "refer"),
        ({"outcome": ["refer", "review"]}, lambda d: d.outcome in ("refer", "review")),
        ({"since": "2025-07-01"}, lambda d: d.event_time_ms >= 1_751_328_000_000),
        ({"until": date(2025, 7, 1)}, lambda d: d.event_time_ms < 1_751_328_000_000),
        ({"since": datetime(2025, 7, 1, tzinfo=UTC), "until": pd.Timestamp("2025-08-01")},
         lambda d: 1_751_328_000_000 <= d.event_time_ms < 1_754_006_400_000),
        ({"min_score": 0.3}, lambda d: d.score is not None and d.score >= 0.3),
        ({"model_version": 1}, lambda d: d.model is not None),
        ({"claim_id": ["c-5", "c-7", "nobody"]}, lambda d: d.claim_id in ("c-5", "c-7")),
        ({"outcome": []}, lambda d: False),
    ],
)  # fmt: skip
def test_filters_keep_what_they_say(project, sealed, wanted, keeps) -> None:
    expected = sorted(each.claim_id for each in sealed.values() if keeps(each))
    assert sorted(project.decisions(**wanted)["claim_id"]) == expected
    definitions = next(iter(sealed.values())).definitions
    assert all(each.definitions == definitions for each in sealed.values())
    assert sorted(project.vectors(**wanted)["claim_id"]) == expected


def test_vectors_are_the_served_ones(project: Project, sealed: dict[str, SealedDecision]) -> None:
    found = project.vectors()
    domain = json.loads(ask(project.folder, "features", "show", "--json").out)
    names = [row["name"] for row in domain]
    assert list(found.columns[-len(names) :]) == names
    assert (found[names].dtypes == "float64").all()
    for _, row in found.iterrows():
        served = [np.nan if v is None else v for v in sealed[row["claim_id"]].features]
        np.testing.assert_array_equal(row[names].to_numpy(np.float64), np.array(served))


def test_labels_as_known_at_a_time(project: Project) -> None:
    everything = project.labels()
    when = everything["known_time"].iloc[len(everything) // 2]
    early = project.labels(known_by=when)
    assert len(early) == (everything["known_time"] <= when).sum()
    assert 0 < len(early) < len(everything)
    frauds = project.labels(outcome="fraud")
    assert len(frauds) > 0
    assert frauds["is_fraud"].all()
    assert list(project.labels(last=3)["event_id"]) == list(everything["event_id"].iloc[-3:])


def test_a_decision_is_explained_by_its_sealed_values(
    project: Project, sealed: dict[str, SealedDecision]
) -> None:
    each = next(d for d in sealed.values() if d.outcome == "refer" and d.reasons)
    told = project.explain(each.claim_id)
    assert told.decision == each
    text = str(told)
    assert each.claim_id in text
    assert "the seal follows" in text
    for reason in each.reasons:
        assert reason.text in text
        assert f"{reason.contribution:+.2f}" in text
    assert list(told.reasons["contribution"]) == [r.contribution for r in each.reasons]
    served = [np.nan if v is None else v for v in each.features]
    np.testing.assert_array_equal(told.features["value"], served)
    assert told.features["how"].str.len().gt(0).all()


def test_every_seal_is_checked(project: Project, sealed: dict[str, SealedDecision]) -> None:
    assert all("follows" in str(project.explain(claim)) for claim in list(sealed)[:12])
    # an edit in the file: the same decision with another score behind its seal
    from cli.notebook import project as module

    real = module.check_seal

    def edited(value: bytes, before: str) -> bool:
        return real(value.replace(b'"c-5"', b'"c-6"', 1), before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "check_seal", edited)
        assert "SEAL IS BROKEN" in str(project.explain("c-5"))


def test_a_claim_that_is_not_there(project: Project) -> None:
    with pytest.raises(UsageError, match="no decision on this claim"):
        project.explain("nobody")
    with pytest.raises(UsageError, match="text"):
        project.explain(7)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        project.explain('c-5","outcome":"')


class Texts(HTMLParser):
    """The texts and elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_escapes_what_came_from_outside() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    d = msgspec.structs.asdict(a_decision(evil)) | {"flags": [evil], "chain": "0" * 64}
    told = Explained(SealedDecision(**d), [FeatureText(evil, evil, evil)] * 2, evil)
    parsed = Texts()
    parsed.feed(told._repr_html_())
    assert parsed.names <= {"div", "strong", "table", "tbody", "tr", "th", "td"}
    assert evil in parsed.texts
    assert "\x1b" not in str(Explained(SealedDecision(**d | {"claim_id": "\x1b[31m"}), []))


def test_everything_that_a_notebook_shows_is_html_of_tables(project: Project) -> None:
    for shown in (project, project.model(), project.explain("c-5")):
        parsed = Texts()
        parsed.feed(shown._repr_html_())
        assert parsed.names <= {"div", "strong", "table", "tbody", "tr", "th", "td"}
        assert parsed.texts


def test_a_look_is_what_score_says_and_changes_nothing(
    project: Project, place: Path, tmp_path: Path
) -> None:
    before = contents(place)
    claim = project.claim("c-300") | {"claim_id": "NEW-1"}
    told = project.look(claim, at_plan=8)
    assert isinstance(told.decision, AdvisoryDecision)
    assert told.is_advisory
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    said = ask(place, "score", str(tmp_path / "claim.json"), "--at-plan", "8", "--json")
    assert msgspec.json.decode(said.out, type=AdvisoryDecision) == told.decision
    assert "nothing was written" in str(told)
    many = project.look([claim, project.claim("c-300"), {}])
    assert list(many["claim_id"]) == ["NEW-1", "c-300", ""]
    assert many["outcome"].isna().tolist() == [False, True, True]
    assert "decided already" in many["refused"][1]
    assert "refused: bad_id" in many["refused"][2]
    with pytest.raises(UsageError, match="decided already"):
        project.look(project.claim("c-300"))
    after = {k: v for k, v in contents(place).items() if not k.startswith("state/checked/")}
    assert after == {k: v for k, v in before.items() if k in after}  # passed self-checks are noted


def test_models(project: Project) -> None:
    frame = project.models
    assert list(frame["aliases"]) == ["champion"]
    assert str(frame["made"].dtype).endswith("UTC]")
    card = project.model()
    assert (card.version, card.state, card.aliases) == (1, "approved", ["champion"])
    assert project.model(1).digest == frame["digest"][0] == card.digest
    assert card.metrics["evaluation.claims"] > 0
    assert "approved, champion" in repr(card)
    with pytest.raises(UsageError, match="no version 7"):
        project.model(7)


def test_sql(project: Project) -> None:
    found = project.sql("select outcome, count(*) as n from decisions group by 1")
    assert found["n"].sum() == len(project.decisions())
    with pytest.raises(UsageError):
        project.sql("delete from decisions")


@pytest.mark.parametrize("when", ["soon", 7, "2025-13-01", True])
def test_what_is_no_time(project: Project, when: object) -> None:
    with pytest.raises(UsageError) as said:
        project.decisions(since=when)  # type: ignore[arg-type]
    assert said.value.where == "since"


def test_other_wrong_use(project: Project) -> None:
    for wrong in ({"outcome": [7]}, {"last": -1}, {"model_version": ["x"]}, {"min_score": "x"}):
        with pytest.raises(UsageError):
            project.decisions(**wrong)  # type: ignore[arg-type]


def test_a_wrong_folder_names_the_right_one(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAIMTRACE_FOLDER", raising=False)
    shutil.copytree(place, tmp_path / "claimtrace-data")
    (tmp_path / "notebooks").mkdir()
    for inside, asked, hint in (
        ("notebooks", None, "../claimtrace-data"),
        ("notebooks", "..", "../claimtrace-data"),
        (".", "claimtrace-dat", "claimtrace-data"),
        ("claimtrace-data", "offline", "."),
    ):
        monkeypatch.chdir(tmp_path / inside)
        with pytest.raises(UsageError) as said:
            ct.open(asked)
        assert said.value.hint == f"perhaps {hint}", (inside, asked)
    monkeypatch.chdir(tmp_path)
    assert len(ct.open().decisions(last=1)) == 1
    with pytest.raises(UsageError, match="file where a folder"):
        ct.open(tmp_path / "claimtrace-data" / "log.db")


def test_a_folder_before_its_stream(tmp_path: Path, place: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copyfile(place / "claimtrace.toml", new / "claimtrace.toml")
    project = ct.open(new)
    assert len(project.decisions()) == len(project.vectors()) == len(project.labels()) == 0
    assert len(project.models) == 0
    with pytest.raises(UsageError, match="no log yet"):
        project.explain("c-1")
    with pytest.raises(UsageError, match="no model is in charge"):
        project.model()
    assert [p.name for p in new.iterdir()] == ["claimtrace.toml"], "nothing was made"


@pytest.mark.parametrize(("source", "name"), [("kafka://127.0.0.1:1", "Kafka"),
                                              ("kinesis://eu-west-1", "Kinesis")])  # fmt: skip
def test_on_a_shared_log_it_says_what_it_cannot_read(place: Path, source: str, name: str) -> None:
    project = Project(Workspace.open(None, place).at_source(source))
    assert len(project.decisions(last=2)) == 2
    assert len(project.models) == 1
    claim = {"claim_id": "NEW"}
    for call in (lambda: project.explain("c-5"), lambda: project.look(claim),
                 lambda: project.claim("c-5")):  # fmt: skip
        with pytest.raises(UsageError, match=f"on {name}: only an embedded log") as said:
            call()
        assert "claimtrace.client" in said.value.hint


def test_damage_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "copy")
    [*_, part] = (tmp_path / "copy" / "offline" / "decisions").glob("*.parquet")
    part.write_bytes(b"nothing")
    with pytest.raises(StateError):
        ct.open(tmp_path / "copy").decisions()


def test_the_guide_names_what_there_is(project: Project) -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    named = {"project": project, "told": project.explain("c-5"), "project.model()": project.model()}
    for prefix, thing in named.items():
        words = set(re.findall(rf"(?<![\w.]){re.escape(prefix)}\.(\w+)", page))
        assert words
        assert [word for word in words if not hasattr(thing, word)] == []


def test_importing_claimtrace_loads_neither_the_program_nor_heavy_libraries() -> None:
    code = (
        "import sys, claimtrace as ct\n"
        "heavy = {'cli', 'pandas', 'numpy', 'pyarrow', 'numba', 'typer', 'rich', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)), ct.open.__name__)\n"
        "from claimtrace import *\n"
        "print(open.__module__.strip(chr(95)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=ROOT)  # fmt: skip
    assert done.stdout.split() == ["[]", "open", "io"]
