"""The section about lineage: from what the model was made, and why two models stand in it."""

from __future__ import annotations

from ..release.publish import lineage_of
from ..report import TrainingReport
from ..run import TrainingRun
from ..tables import Table
from .markup import Markup, element, join
from .pieces import paragraphs, table_of
from .summary import day, moment, sentence


def lineage(run: TrainingRun, report: TrainingReport) -> Markup:
    """Show the judged and the released model, the data, the settings and the libraries."""
    found = lineage_of(run.dataset, run.split, run.choice, run.judged, run.released)
    judged, released = found["judged"], found["released"]
    models = Table(
        "The judged and the released model",
        ["", "judged", "released"],
        [
            ["SHA-256 of the trees", judged["model_digest"], released["model_digest"]],
            ["claims learned from", f"{judged['claims']:,}", f"{released['claims']:,}"],
            ["trees", f"{judged['rounds']:,}", f"{released['rounds']:,}"],
            ["learned from", judged["learned_from"], released["learned_from"]],
        ],
    )
    data = found["dataset"]
    origin = [
        ["domain", run.settings.domain],
        ["definitions", f"{report.definitions} ({report.features:,} features)"],
        ["known at", moment(report.at_ms)],
        ["claims", f"{data['claims']:,}, of {_range(found['time_range_ms'])}"],
        ["with a verdict", f"{data['labelled']:,}, of which fraud {data['frauds']:,}"],
        ["query (SHA-256)", data["query_digest"]],
        ["claims of each part (SHA-256)", found["split"]["claims_digest"]],
        *(
            [f"table {name}", f"version {_words(version)}"]
            for name, version in data["tables"].items()
        ),
        ["seed", str(run.seed)],
        ["settings", _words(report.params)],
        ["libraries", _words(found["libraries"])],
    ]
    return join(
        paragraphs(
            "A model can't be judged by claims that it has learned from, and a model that leaves "
            "the newest claims out doesn't know the newest frauds. So the settings are judged "
            "first, in a model that stops where the test begins; then the same settings are fitted "
            "again on every claim with a mature verdict, and that model is published. The digests "
            "differ because the claims do."
        ),
        table_of(models),
        table_of(Table("From what it was made", ["what", "value"], origin)),
    )


def champion(report: TrainingReport) -> Markup:
    """Show the comparison with the champion, on the same claims."""
    if report.champion_before is None:
        return paragraphs(
            "There was no champion to compare with. A first model must be clearly better than "
            "chance.",
            sentence(report.verdict.words),
        )
    rows = [
        [one.metric.replace("_ratio", "").replace("_", " "), f"{one.champion:.3f}",
         f"{one.challenger:.3f}", f"{one.difference:+.3f}", f"{one.low:+.3f} .. {one.high:+.3f}"]
        for one in report.verdict.differences
    ]  # fmt: skip
    header = ["metric", report.champion_before.label, "this model", "difference", "90 % interval"]
    table = table_of(Table("Difference on the same claims", header, rows)) if rows else Markup()
    return join(
        paragraphs(
            "Both models score the same claims, and the interval is of the difference between "
            "them; so it is much narrower than those of the two models.",
            sentence(report.verdict.words),
        ),
        table,
    )


def notes(report: TrainingReport) -> Markup:
    """Show what the run had to say."""
    if not report.notes:
        return paragraphs("There was nothing unusual.")
    return element("ul", *(element("li", each) for each in report.notes))


def _range(ends: list[int]) -> str:
    return f"{day(ends[0])} to {day(ends[1])}"


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    return str(value)
