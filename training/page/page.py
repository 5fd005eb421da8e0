"""The page of a version: all sections in their order, as one HTML document."""

from __future__ import annotations

from typing import Final

from ..explanation.tables import explanation_tables
from ..release.gates import Gate
from ..report import TrainingReport, tables_of
from ..run import TrainingRun
from ..tables import Table
from .adapters import quality as pictures
from .bias import bias
from .drift import drift
from .explanations import explanations
from .lineage import champion, lineage, notes
from .markup import Markup, element, join
from .pieces import figure_of, paragraphs, section, table_of
from .routes import FURTHER, routed
from .style import CONTENT_POLICY, STYLE
from .summary import five_sentences, head, key, verdict

REPORT_FILE: Final = "report.html"
"""The name of the page among a version's attachments."""


def page_of(run: TrainingRun, report: TrainingReport) -> bytes:
    """Lay out the report of a run as an HTML page in UTF-8.

    The page loads nothing, has no script, and escapes every text. Tables that `tables_of` gives and
    no section knows have a section of their own. The same run gives the same bytes.

    Args:
        report: of the same run; the digest of `report.model` is shown, not its number, because the
            page is made before the registry gives one.
    """
    domain = run.settings.domain.rsplit(".", 1)[-1]
    parts = _sections(run, report)
    contents = element("nav", element("ol", *(
        element("li", element("a", title, href=f"#{identity}")) for identity, title, _ in parts
    )))  # fmt: skip
    body = join(
        head(report, domain, run.now_ms),
        five_sentences(report, domain),
        verdict(report),
        key(report),
        contents,
        *(section(identity, title, body) for identity, title, body in parts),
        element("footer", f"claimtrace · {domain} · model {report.model.digest} · the registry "
                "keeps this page's digest beside the model's; claimtrace models check finds a page "
                "that was edited."),
    )  # fmt: skip
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=CONTENT_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"Model report: {domain}, {report.model.digest[:12]}"),
            element("style", Markup(STYLE)),
        ),
        element("body", body),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n".encode()


def _sections(run: TrainingRun, report: TrainingReport) -> list[tuple[str, str, Markup]]:
    """Return the sections: identity, title and content; one without any content is left out."""
    tables = routed(tables_of(report))

    def rest(place: str) -> Markup:
        return join(*(table_of(table) for table in tables.pop(place, [])))

    explained = {table.title for table in explanation_tables(report.explanation)}
    shown = [each for each in tables.pop("explanations", []) if each.title not in explained]
    shown = [*explanation_tables(report.explanation), *shown]
    found = [
        ("data", "Data, and how mature it is", join(_data(run), rest("data"))),
        ("quality", "Quality", join(_quality(run), rest("quality"))),
        ("thresholds", "Threshold and capacity", join(_thresholds(run), rest("thresholds"))),
        ("calibration", "Calibration", join(_calibration(run), rest("calibration"))),
        ("bias", "Bias", bias(report.bias, tables.pop("bias", []))),
        ("explanations", "Explanations", _explanations(run, shown)),
        ("drift", "What live claims are compared with", drift(run.reference, run.explanation)),
        ("champion", "Comparison with the champion", champion(report)),
        ("gates", "Gates", join(_gates(report, tables.get("gates", [])), rest("gates"))),
        ("lineage", "Lineage", join(lineage(run, report), rest("making"))),
        (FURTHER, "Further tables", rest(FURTHER)),
        ("notes", "Notes", notes(report)),
    ]  # fmt: skip
    assert not tables, f"no section for {sorted(tables)}"
    return [each for each in found if each[2]]


def _explanations(run: TrainingRun, tables: list[Table]) -> Markup:
    if run.explanation is None:
        return join(*(table_of(table) for table in tables))
    return explanations(run.explanation, run.drawn_claims, tables)


def _data(run: TrainingRun) -> Markup:
    return join(
        paragraphs(
            "Vectors are those that were served when the claims were decided; none was computed "
            "again. A claim without a verdict doesn't count as legitimate: it is in no figure of "
            "quality, and still uses up its part of the day's capacity."
        ),
        figure_of(pictures.months(run), "Claims by month, those with a verdict, and the average "
                  "precision in each month of the test that has at least five known frauds. The "
                  "first and the last month may be incomplete."),
        figure_of(pictures.delay(run), "How old claims are when their verdict comes; claims that "
                  "still wait are reckoned with. Younger claims than the mark aren't judged "
                  "by: their verdicts are the fast ones."),
    )  # fmt: skip


def _quality(run: TrainingRun) -> Markup:
    return join(
        paragraphs(
            "Intervals are 95 %, by drawing whole policies; a perfect ranking is the ceiling, as "
            "days with fewer frauds than capacity can't be filled with frauds."
        ),
        figure_of(pictures.precision_recall(run), "Every threshold gives one point of the line; "
                  "the capacity marks the one in use, with its 95 % intervals. It lies off the "
                  "line where the capacity is spent day by day."),
    )  # fmt: skip


def _thresholds(run: TrainingRun) -> Markup:
    return join(
        paragraphs(
            "A threshold is the score that lets the capacity through on the newest claims, with or "
            "without a verdict. Whoever changes the capacity changes the threshold, and nothing "
            "else about the model."
        ),
        figure_of(pictures.scores(run), "How the scores of the test's claims are spread, on a "
                  "logarithmic scale; each line sums to one. Claims to the right of the solid mark "
                  "are referred, those to the right of the dashed one reviewed."),
    )  # fmt: skip


def _calibration(run: TrainingRun) -> Markup:
    error = run.evaluation.calibration_error
    return join(
        paragraphs(
            "A score of 0.2 should mean that one in five such claims is fraud. The curve from the "
            f"model's margins to scores is {run.released_calibration.method}; on the test the mean "
            f"distance between score and share of frauds is {error:.4f}, the Brier score "
            f"{run.evaluation.brier:.4f}."
        ),
        figure_of(pictures.calibration(run), "Groups of test claims of like scores, each expecting "
                  "equally many frauds. Dots above the line: more fraud than the score says."),
    )  # fmt: skip


def _gates(report: TrainingReport, tables: list[Table]) -> Markup:
    """Show each gate with its evidence, unless the report's tables have them."""
    gates: list[Gate] = getattr(report, "gates", [])
    if not gates and report.bias is not None and report.bias.facets:
        gates = [report.bias.gate]
    if tables or not gates:
        return Markup()
    rows = [[one.name, one.state, one.words, one.evidence] for one in gates]
    return table_of(Table("Gates", ["gate", "state", "what was found", "evidence"], rows))
