"""The page of a version: the same bytes, nothing loaded, every table, hostile texts harmless."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np
import pytest

from claimtrace.ids import digest
from claimtrace.settings.schema import DecisionSettings, Settings, TrainingSettings
from models.registry.adapters.folder import FolderRegistry
from tests.worlds.claims_history import FEATURES, History, write_history
from training import report as report_module
from training.bias.comparison import Bias
from training.bias.measure import FacetBias, Measure, SideCounts
from training.bias.metrics import METRICS
from training.page import page as page_module
from training.page.bias import bias
from training.page.page import REPORT_FILE, page_of
from training.pipeline import STEPS, train
from training.release.gates import Gate
from training.report import TrainingReport, tables_of
from training.run import TrainingRun
from training.tables import Table

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = (
    '</text></svg></style><script>alert("1")</script><img src=x onerror=alert(1)> $\\frac$ \x1b[31m'
)
SETTINGS = Settings(
    decision=DecisionSettings(capacity_per_day=2, review_per_day=5),
    training=TrainingSettings(params={"rounds": 30, "max_depth": 2}),
)
AGAIN = """
import sys
from pathlib import Path
from models.registry.adapters.folder import FolderRegistry
from featurestore.offline.adapters.delta import OfflineStore
from tests.training.page.test_page import SETTINGS
from training.pipeline import train
store, models, end_ms = sys.argv[1:]
print(train(OfflineStore(Path(store)), FolderRegistry(models), SETTINGS,
            at_ms=int(end_ms)).report_digest)
"""


@dataclasses.dataclass
class Trained:
    history: History
    folder: Path
    run: TrainingRun
    report: TrainingReport
    page: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A version trained after a champion on the same store, with its page."""
    folder = tmp_path_factory.mktemp("page")
    history = write_history(folder / "offline", claims=3000)
    registry = FolderRegistry(folder / "models")
    runs: list[TrainingRun] = []
    report = train(history.store, registry, SETTINGS, at_ms=history.end_ms,
                   steps=(*STEPS, ("look", runs.append)))  # fmt: skip
    page = registry.attachment(report.model, REPORT_FILE)
    assert digest(page) == report.report_digest
    return Trained(history, folder, runs[0], report, page.decode())


class Reader(HTMLParser):
    """The elements and texts of a page, as a parser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check_harmless(page: str) -> Reader:
    """No script, no handler, nothing that is loaded; every element is closed where it should be."""
    reader = Reader(page)
    assert reader.open == []
    names = {name for name, _ in reader.elements}
    assert not names & {
        "script",
        "img",
        "image",
        "iframe",
        "link",
        "object",
        "embed",
        "form",
        "base",
    }
    for name, attributes in reader.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, key)
            if key in ("href", "xlink:href", "src"):
                assert (value or "").startswith("#"), (name, key, value)
    assert not re.search(r"https?:|//|@import|javascript:|data:", page.split("</style>")[0])
    assert "url(" not in re.sub(r"url\(#", "", page)
    return reader


def test_the_page_loads_nothing_and_holds_all_tables(trained: Trained) -> None:
    reader = check_harmless(trained.page)
    assert "://" not in trained.page
    policy = next(each for name, each in reader.elements if "http-equiv" in each)
    assert "default-src 'none'" in str(policy["content"])
    words = "\n".join(reader.words)
    for table in tables_of(trained.report):
        for text in (table.title, *table.header, *(cell for row in table.rows for cell in row)):
            assert not text or text in words, (table.title, text)
    for each in (trained.report.verdict.words[1:], digest(trained.run.judged.model_json),
                 digest(trained.run.released.model_json), trained.report.definitions):  # fmt: skip
        assert each in words
    ids = [each["id"] for _, each in reader.elements if "id" in each]
    assert len(ids) == len(set(ids))
    assert sum(name == "svg" for name, _ in reader.elements) >= 10
    assert len(trained.page) < 3_000_000


def test_two_processes_give_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    """Whatever the order of sets, the place of the clock and the user's plots."""
    environment = {**os.environ, "PYTHONHASHSEED": "12", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\n")
    ran = subprocess.run(
        [sys.executable, "-c", AGAIN, str(trained.folder / "offline"), str(tmp_path / "models"),
         str(trained.history.end_ms)],
        cwd=ROOT, text=True, capture_output=True, check=True,
        env={**environment, "MATPLOTLIBRC": str(tmp_path)},
    )  # fmt: skip
    assert ran.stdout.strip() == trained.report.report_digest


def test_hostile_names_and_texts_are_shown_and_do_nothing(trained: Trained) -> None:
    run, report = trained.run, trained.report
    names = [f"{HOSTILE}{number}" for number in range(len(FEATURES))]
    new = dict(zip(FEATURES, names, strict=True))
    explanation = run.explanation
    assert explanation is not None
    replace = msgspec.structs.replace
    explained = replace(
        explanation,
        influences=[replace(one, feature=new[one.feature], text=HOSTILE)
                    for one in explanation.influences],
        examples=[replace(one, claim_id=HOSTILE, parts=[
            replace(part, feature=new[part.feature]) for part in one.parts])
            for one in explanation.examples],
    )  # fmt: skip
    features = [replace(one, name=new[one.name]) for one in run.reference.features]
    hostile = _copy(run)
    hostile.explanation = explained
    hostile.reference = replace(run.reference, features=features)
    hostile.drawn_claims = dataclasses.replace(run.drawn_claims, names=names)
    hostile.settings = replace(run.settings, domain=HOSTILE)
    verdict = replace(report.verdict, words=HOSTILE)
    changed = replace(report, explanation=explained, notes=[HOSTILE, "\ud800"], verdict=verdict)
    page = page_of(hostile, changed).decode()
    reader = check_harmless(page)
    assert '<script>alert("1")</script>' in "".join(reader.words)
    assert "\x1b" not in page


def _copy(run: TrainingRun) -> TrainingRun:
    copied = object.__new__(TrainingRun)
    for name in TrainingRun.__slots__:
        if hasattr(run, name):
            setattr(copied, name, getattr(run, name))
    return copied


def test_tables_that_nobody_knows_are_shown_too(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside that, what is drawn with is left as it was: matplotlib, and numpy's generator."""
    before, drawn = dict(mpl.rcParams), np.random.get_state()[1].copy()
    more = [Table("Bias of a facet", ["group", "DI"], [["b<1>", "0.81"]]),
            Table("Never heard of", ["x"], [["1 < 2"], ["passed"]])]  # fmt: skip
    monkeypatch.setattr(
        page_module, "tables_of", lambda report: [*report_module.tables_of(report), *more]
    )
    page = page_of(trained.run, trained.report).decode()
    assert dict(mpl.rcParams) == before
    assert (np.random.get_state()[1] == drawn).all()
    check_harmless(page)
    bias, further = page.index('<section id="bias">'), page.index('<section id="further">')
    assert bias < page.index("b&lt;1&gt;") < further < page.index("1 &lt; 2")


@pytest.mark.server
@pytest.mark.slow
def test_a_real_browser_prints_the_page_without_a_complaint(
    trained: Trained, tmp_path: Path
) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium here")
    (tmp_path / "report.html").write_text(trained.page)
    ran = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
         f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'report.pdf'}",
         (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    assert [line for line in ran.stderr.splitlines() if "CONSOLE" in line] == []
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    sheets = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 6 <= sheets <= 40


def test_every_metric_of_every_facet_is_shown_in_words() -> None:
    side = SideCounts(**dict.fromkeys(SideCounts.__struct_fields__, 1))
    gate = Gate(name="bias", state="passed", words="within limits", evidence="bias")
    facet = FacetBias(
        facet="gender <f>", features=["f"], group=side, others=side, neither=0, subgroups=1,
        before=[Measure("CI", "evaluated", 0.125, 0.1, 0.2)],
        after=[Measure("DI", "not enough evidence", None, words="few & far")],
    )  # fmt: skip
    shown = bias(Bias(threshold=0.5, facets=[facet], limits={}, gate=gate), [])
    check_harmless(f"<style></style>{shown}")
    said = METRICS["DI"].words
    for words in ("gender &lt;f&gt;", "0.125", "0.100 .. 0.200", said, "few &amp; far"):
        assert words in shown, words
    assert "marks no facets" in bias(None, [])
