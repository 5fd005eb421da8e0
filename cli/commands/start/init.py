"""`claimtrace init`: a first domain, mapping and README for somebody's own table."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import UsageError
from claimtrace.rooms import ROOMS

from ...console import out, safe, table

if TYPE_CHECKING:
    from producers.guessing.roles import Choices, Draft
    from producers.guessing.table_form import TableForm


def init(
    name: Annotated[str, typer.Argument(help="The domain's name; a new folder of this name.")],
    source: Annotated[
        Path, typer.Option("--from", help="A .csv or .parquet file with one claim a row.")
    ],
    id_column: Annotated[
        str | None, typer.Option("--id", help="The column with the claim's id.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="The column with the time of the claim.")] = None,
    time_format: Annotated[
        str | None, typer.Option(help="The form of the times, such as %d.%m.%Y.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(help="A column that windows are about, such as a policy; several times."),
    ] = None,
    amount: Annotated[str | None, typer.Option(help="The column with the claim's value.")] = None,
    label: Annotated[str | None, typer.Option(help="The column with the outcome.")] = None,
    fraud: Annotated[
        str | None, typer.Option(help="The text in the outcome's column that means fraud.")
    ] = None,
    currency: Annotated[str, typer.Option(help="The currency of all amounts.")] = "USD",
) -> None:
    """Write a first domain for a table of yours: a module, a mapping, settings and a README.

    Types and roles of the columns are guessed from the first rows; on a terminal the id and the
    time are asked for, and the options say them. The new folder works as it is:

        claimtrace init motor --from claims.csv

    Nothing is written when something is refused, and no file is replaced.
    """
    from producers.adapters.table_sample import read_sample
    from producers.guessing.roles import Choices, draft_of

    _check(name, currency)
    columns, form = read_sample(source)
    choices = Choices(id_column, time, time_format, tuple(entity or ()), amount, label, fraud)
    if sys.stdin.isatty() and out.is_terminal:
        choices = _asked(choices, {column.name: column for column in columns})
    draft = draft_of(columns, choices, str(source))
    beside = os.path.relpath(source.resolve(), Path(name).resolve())
    _write(Path(name), name, currency, draft, form, beside)
    _show(name, draft)


def _check(name: str, currency: str) -> None:
    """Refuse a name that a domain can't have, before anything is read."""
    from producers.guessing.names import refused_name

    if why := refused_name(name, _taken(name)):
        raise UsageError(f"the domain can't be called {name}: {why}", where="NAME",
                         hint="choose another name, such as motor")  # fmt: skip
    if not (
        len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()
    ):
        raise UsageError(f"{currency} is no currency", where="--currency", hint="write USD or EUR")
    if Path(name).exists() or Path(name).is_symlink():
        raise UsageError("the folder exists already", where=name,
                         hint="remove it, or choose another name")  # fmt: skip


def _taken(name: str) -> set[str]:
    """Return the names of modules that would be found before one in the current folder."""
    taken = {*ROOMS, *sys.stdlib_module_names}
    here = {os.getcwd(), ""}
    before, sys.path[:] = sys.path[:], [each for each in sys.path if each not in here]
    try:
        if name.isidentifier() and find_spec(name) is not None:
            taken.add(name)
    except (ImportError, ValueError):
        taken.add(name)
    finally:
        sys.path[:] = before
    return taken


def _asked(choices: Choices, columns: dict[str, object]) -> Choices:
    """Ask for the id and the time that no option has said; Enter takes the guess."""
    from producers.guessing.column_facts import facts_of
    from producers.guessing.roles import guess_id, guess_time

    facts = {name: facts_of(column) for name, column in columns.items()}  # type: ignore[arg-type]
    out.print("columns: " + ", ".join(safe(column) for column in columns))

    def ask(words: str, guess: Callable[[], str]) -> str | None:
        answer: str = typer.prompt(words, default=guess(), type=str)
        return answer.strip() or None

    if choices.id is None:
        choices = choices._replace(
            id=ask("which column is the claim's id", lambda: guess_id(facts))
        )
    if choices.time is None:
        words = "which column is the time of the claim (empty: none)"
        choices = choices._replace(time=ask(words, lambda: guess_time(facts)))
    return choices


def _write(
    folder: Path, name: str, currency: str, draft: Draft, form: TableForm, source: str
) -> None:
    """Write all files into a new folder: aside first, checked as the product reads them."""
    from producers.guessing.domain_text import domain_text
    from producers.guessing.mapping_text import mapping_text, settings_text
    from producers.guessing.readme_text import readme_text

    files = {
        f"{name}.py": domain_text(name, currency, draft),
        "mapping.toml": mapping_text(name, currency, draft, form),
        "claimtrace.toml": settings_text(name),
        "README.md": readme_text(name, source, draft),
    }
    aside = folder.with_name(f".{name}-{os.getpid()}")
    try:
        aside.mkdir()
        for path, text in files.items():
            (aside / path).write_bytes(text.encode("utf-8", "surrogateescape"))
        _check_files(aside, name)
        aside.rename(folder)
    except OSError as error:
        raise UsageError(f"can't write the files: {error.strerror}", where=str(folder)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_files(folder: Path, name: str) -> None:
    """Load the module and the mapping; what is wrong with them is a fault of ours."""
    from claimtrace.settings.loading import load_settings
    from featurestore.definitions.domain import Domain
    from producers.adapters.files import read_mapping

    path = folder / f"{name}.py"
    spec = spec_from_file_location(f"_new_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module, before = module_from_spec(spec), sys.dont_write_bytecode
    sys.modules[spec.name] = module  # msgspec looks annotations up there
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
        del sys.modules[spec.name]
    domain: Domain = module.DOMAIN
    mapping = read_mapping(folder / "mapping.toml")
    assert mapping.topic == domain.claim.topic
    assert {*mapping.fields} <= {*domain.claim.__struct_fields__}
    assert load_settings((folder / "claimtrace.toml").read_bytes(), {}).domain == name


def _show(name: str, draft: Draft) -> None:
    rows = [[safe(each.column), each.name, each.kind] for each in draft.fields]
    time = safe(draft.time_column) or "(the row's number)"
    rows.insert(1, [time, "filed_at", "time"])
    if draft.label is not None:
        rows.append([safe(draft.label.column), "outcome", "label"])
    table(f"{name}/", ["column", "field", "kind"], rows)
    for column, why in draft.left_out:
        out.print(f"[dim]left out: {safe(column)}: {why}[/]")
    for note in draft.notes:
        out.print(f"[yellow]{safe(note)}[/]")
    if draft.label is None:
        out.print("[yellow]no column holds outcomes: README.md says what to do[/]")
    out.print(f"\n[dim]go on with[/]\n  cd {name}\n  cat README.md")
