"""`claimtrace decisions`: find decisions, look at one, and follow them as they are made."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from claimtrace.decisions import DECISIONS_TOPIC
from claimtrace.errors import UsageError
from serving.reading.decision_filter import DecisionFilter, check_model

from ...console import out, print_json
from ...times import time_of
from ...wiring.workspace import Workspace
from .decision_screen import csv_text, line_of, show_table, show_whole
from .decision_sources import STORE, newest, row_of, whole_decision
from .following import follow

app = typer.Typer(help="Find decisions, look at one, and follow them as they are made.",
                  no_args_is_help=True)  # fmt: skip
_MOST = 100_000


class Outcome(StrEnum):
    """The outcomes of a decision."""

    APPROVE = "approve"
    REVIEW = "review"
    REFER = "refer"


class Arm(StrEnum):
    """The model that decided where a roll-out is in force, by its role."""

    CHAMPION = "champion"
    CANARY = "canary"
    NONE = "none"


OutcomeOption = Annotated[
    list[Outcome] | None, typer.Option("--outcome", help="Only these; may be repeated.")
]
FromOption = Annotated[
    str, typer.Option("--from", help="Claims that the log took from this time on.")
]
ToOption = Annotated[str, typer.Option("--to", help="Claims that the log took before this time.")]
LeastOption = Annotated[
    float | None, typer.Option("--score-from", min=0, max=1, help="Least score.")
]
MostOption = Annotated[
    float | None, typer.Option("--score-to", min=0, max=1, help="Highest score.")
]
ClaimOption = Annotated[str, typer.Option("--claim", help="On the claim with this id.")]
PolicyOption = Annotated[
    str, typer.Option("--policy", help="On claims of this policy; from the offline store.")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="By NAME, VERSION or NAME/VERSION; none: by rules alone.")
]
FlagOption = Annotated[
    list[str] | None, typer.Option("--flag", help="With this flag; repeated: with all of them.")
]
RuleOption = Annotated[
    list[str] | None, typer.Option("--rule", help="On which this rule fired; may be repeated.")
]
ArmOption = Annotated[
    Arm | None, typer.Option("--arm", help="Whose model decided under a roll-out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print as CSV, a row a decision.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    outcome: OutcomeOption = None,
    from_: FromOption = "",
    to: ToOption = "",
    score_from: LeastOption = None,
    score_to: MostOption = None,
    claim: ClaimOption = "",
    policy: PolicyOption = "",
    model: ModelOption = "",
    flag: FlagOption = None,
    rule: RuleOption = None,
    arm: ArmOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=_MOST, help="The newest so many.")
    ] = 20,
    log: Annotated[
        bool, typer.Option("--log", help="Read the log, also where there is an offline store.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the newest decisions that meet all filters, the newest first.

    The offline store is asked where there is one: it is quick, and some seconds behind the log.
    `--log` reads the log itself, to its end.

        claimtrace decisions list --outcome refer --score-from 0.9

        claimtrace decisions list --policy pol-0012167 --csv
    """
    one_form(as_json=as_json, as_csv=as_csv)
    asked = filter_of(outcome, from_, to, score_from, score_to, claim, policy, model, flag, rule,
                      arm)  # fmt: skip
    found = newest(ctx.obj, asked, limit, log=log)
    if as_json:
        print_json(found.rows)
    elif as_csv:
        sys.stdout.write(csv_text(found.rows, header=True))
    elif not found.rows:
        out.print(f"no decision meets these filters [dim](read from the {found.source})[/]")
    else:
        show_table(found.rows)
        behind = "; --log reads what isn't stored yet" if found.source == STORE else ""
        more = f"; -n shows more than {limit}" if len(found.rows) == limit else ""
        out.print(f"[dim]{len(found.rows):,} from the {found.source}{behind}{more}[/]")


@app.command()
def tail(
    ctx: typer.Context,
    outcome: OutcomeOption = None,
    from_: FromOption = "",
    to: ToOption = "",
    score_from: LeastOption = None,
    score_to: MostOption = None,
    claim: ClaimOption = "",
    model: ModelOption = "",
    flag: FlagOption = None,
    rule: RuleOption = None,
    arm: ArmOption = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=_MOST, help="Begin this many before the end.")
    ] = 10,
    once: Annotated[
        bool, typer.Option("--once", help="End when the end of the log is reached.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Follow the decisions on the log as they are made, a line each; Ctrl-C ends it.

    With --json each line is a sealed decision as it is on the log, for a program in a pipe. On
    Kinesis, which can't be read from its end, the lines before the end are of the last hour.

        claimtrace decisions tail --outcome refer
    """
    one_form(as_json=as_json, as_csv=as_csv)
    asked = filter_of(outcome, from_, to, score_from, score_to, claim, "", model, flag, rule,
                      arm)  # fmt: skip
    _tail(ctx.obj, asked, lines, once=once, form="json" if as_json else "csv" if as_csv else "")


@app.command()
def show(
    ctx: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A claim's id, or a decision's.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the sealed bytes, as they are on the log.")
    ] = False,
) -> None:
    """Show one decision: verdict, reasons, rules that fired, model, and its place in the chain.

    It is read from the log, to whose end that takes; the newest one on the claim is shown.
    """
    sealed = whole_decision(ctx.obj, wanted)
    if as_json:
        _write_line(sealed)
    else:
        show_whole(sealed)


def filter_of(
    outcome: list[Outcome] | None, from_: str, to: str, score_from: float | None,
    score_to: float | None, claim: str, policy: str, model: str, flag: list[str] | None,
    rule: list[str] | None, arm: Arm | None,
) -> DecisionFilter:  # fmt: skip
    """Return the filter that options ask for.

    Raises:
        UsageError: a time or a model can't be read, or a range is empty.
    """
    least, before = time_range(from_, to)
    if score_from is not None and score_to is not None and score_from > score_to:
        raise UsageError("no score lies between these", where="--score-from, --score-to",
                         hint="give the lower one first")  # fmt: skip
    return DecisionFilter(
        outcomes=tuple(outcome or ()), from_ms=least, to_ms=before, least=score_from, most=score_to,
        claim=claim, policy=policy, model=check_model(model), flags=tuple(flag or ()),
        rules=tuple(rule or ()), arm=arm or "",
    )  # fmt: skip


def time_range(from_: str, to: str) -> tuple[int | None, int | None]:
    """Return the ends of a range of time in ms, None where no option gives one.

    Raises:
        UsageError: a time can't be read, or the range is empty.
    """
    least = time_of(from_, "--from") if from_ else None
    before = time_of(to, "--to") if to else None
    if least is not None and before is not None and least >= before:
        raise UsageError("no time lies between these", where="--from, --to",
                         hint="--to is the first moment that is left out")  # fmt: skip
    return least, before


def one_form(*, as_json: bool, as_csv: bool) -> None:
    """Refuse two forms at once.

    Raises:
        UsageError: both are asked for.
    """
    if as_json and as_csv:
        raise UsageError("one form at a time", where="--json, --csv", hint="leave one out")


def _tail(
    workspace: Workspace, asked: DecisionFilter, lines: int, *, once: bool, form: str
) -> None:
    if form == "csv":
        sys.stdout.write(csv_text([], header=True))
    seen: set[str] = set()
    for number, page in enumerate(follow(workspace, DECISIONS_TOPIC, lines)):
        if once and number and not page:
            return
        for record in page:
            row = row_of(record)
            if row.decision_id in seen or not asked.matches(row):
                continue
            if len(seen) >= _MOST:
                seen.clear()
            seen.add(row.decision_id)
            _print(row, record.value or b"", form)
        sys.stdout.flush()


def _print(row: Any, sealed: bytes, form: str) -> None:
    if form == "json":
        _write_line(sealed)
    elif form == "csv":
        sys.stdout.write(csv_text([row], header=False))
    else:
        out.print(line_of(row), soft_wrap=True)


def _write_line(sealed: bytes) -> None:
    sys.stdout.write(sealed.decode(errors="backslashreplace") + "\n")
