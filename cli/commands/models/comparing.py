"""`claimtrace models compare`: two versions on the recorded claims, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, progress, safe, table
from ...times import time_of
from ...wiring.train_options import check_new
from ...wiring.workspace import Workspace

if TYPE_CHECKING:
    from claimtrace.decisions import ModelRef
    from models.scorer import Scorer
    from stream.decisions.comparison import Comparison, Judged

_COLUMNS = ("claim_id", "event_time_ms", "definitions", "rules", "features")


def compare(
    ctx: typer.Context,
    one: Annotated[int, typer.Argument(help="The number of a version.")],
    other: Annotated[int, typer.Argument(help="The number of another one.")],
    from_time: Annotated[
        str | None, typer.Option("--from", help="Only claims from here on; a date or a time.")
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write each claim to this .parquet file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare what two versions would have decided on the claims of the offline store.

    Both score the vectors as they were served, under the rules that fired then. The result says
    which outcomes and reasons change, and the hours of people that each version would cost: by
    decision.review_hours and decision.investigation_hours of the settings.
    """
    workspace: Workspace = ctx.obj
    refs = [workspace.published(version) for version in (one, other)]
    from_ms = None if from_time is None else time_of(from_time, "--from")
    check_new(out_file, ".parquet", "claims")
    scorers = [_scorer(workspace, ref) for ref in refs]
    found = _compare(workspace, scorers, from_ms, out_file, quiet=as_json)
    if not found.claims:
        raise UsageError("there are no claims to compare on", where="offline store",
                         hint="`claimtrace stream` records them; definitions must be those of "
                         "the models")  # fmt: skip
    if as_json:
        print_json(found)
        return
    _show(found, one, other)
    if out_file is not None:
        out.print(f"each claim is in {safe(out_file)}", soft_wrap=True)


def _compare(
    workspace: Workspace,
    scorers: list[Scorer],
    from_ms: int | None,
    out_file: Path | None,
    *,
    quiet: bool,
) -> Comparison:
    import numpy as np

    from featurestore.offline.tables import DECISIONS
    from stream.decisions.comparison import Tally, judged, levels_of_rules

    settings, domain = workspace.settings.decision, workspace.domain
    tally = Tally(settings.review_hours, settings.investigation_hours)
    rules = {rule.name: rule.outcome for rule in domain.rules}
    tables: list[Any] = []
    has_rows = DECISIONS in workspace.offline.tables()
    total = workspace.offline.count(DECISIONS) if has_rows else 0
    with progress("compare", total, quiet=quiet) as advance:
        for batch in workspace.offline.batches(DECISIONS, _COLUMNS) if has_rows else ():
            wanted = _wanted(batch, domain.definitions_digest, from_ms)
            if wanted.num_rows:
                flat = wanted["features"].combine_chunks().flatten()
                matrix = np.array(flat, np.float64).reshape(wanted.num_rows, -1)
                levels = levels_of_rules(wanted["rules"].to_pylist(), rules)
                both = [judged(each, matrix, levels, settings.reasons) for each in scorers]
                tally.add(*both)
                if out_file is not None:
                    tables.append(_rows(wanted, both))
            advance(batch.num_rows)
    if tables and out_file is not None:
        _write(tables, out_file)
    return tally.result()


def _wanted(batch: Any, definitions: str, from_ms: int | None) -> Any:
    """Return the rows of a batch that have the definitions, from a time on, as a table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pc.equal(batch["definitions"], definitions)
    if from_ms is not None:
        mask = pc.and_(mask, pc.greater_equal(batch["event_time_ms"], from_ms))
    return pa.Table.from_batches([batch]).filter(mask)


def _rows(wanted: Any, both: list[Judged]) -> Any:
    """Return a row for each claim, with what both models say."""
    import pyarrow as pa

    from stream.decisions.outcomes import OUTCOMES

    columns: dict[str, Any] = {name: wanted[name] for name in ("claim_id", "event_time_ms")}
    for name, each in zip(("first", "second"), both, strict=True):
        columns |= {
            f"{name}_score": pa.array(each.scores, from_pandas=True),
            f"{name}_outcome": pa.array([OUTCOMES[level] for level in each.levels.tolist()]),
            f"{name}_reasons": pa.array(each.reasons, pa.list_(pa.string())),
        }
    return pa.table(columns)


def _write(tables: list[Any], path: Path) -> None:
    """Write the rows as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from claimtrace.adapters.files.atomic_files import write_file

    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables), sink)
    write_file(path, sink.getvalue().to_pybytes())


def _scorer(workspace: Workspace, ref: ModelRef) -> Scorer:
    found = workspace.misfit(ref)
    if found is not None:
        raise UsageError(f"version {ref.version}: {found.words}", where=workspace.domain.name,
                         hint="compare versions of these definitions")  # fmt: skip
    return workspace.scorer_of(ref).taking(workspace.domain.feature_names)


def _show(found: Comparison, one: int, other: int) -> None:
    from stream.decisions.outcomes import OUTCOMES

    out.print(f"{found.changed:,} of {found.claims:,} claims would have another outcome under "
              f"version {other} than under version {one}")  # fmt: skip
    rows = [
        [name, *(f"{count:,}" for count in counts)]
        for name, counts in zip(OUTCOMES, found.outcomes, strict=True)
    ]
    table("", [f"version {one}", *(f"{other}: {name}" for name in OUTCOMES)], rows)
    more = found.second_hours - found.first_hours
    out.print(f"hours of people: {found.first_hours:,.1f} and {found.second_hours:,.1f}, "
              f"{abs(more):,.1f} {'more' if more >= 0 else 'less'} with version "
              f"{other}")  # fmt: skip
    out.print(f"{found.other_reasons:,} of {found.referred_by_both:,} claims that both refer have "
              "other reasons")  # fmt: skip
    if found.reasons:
        listed = [
            [safe(each.feature), f"{each.only_first:,}", f"{each.only_second:,}"]
            for each in found.reasons
        ]
        table("", ["reason", f"only by {one}", f"only by {other}"], listed)
