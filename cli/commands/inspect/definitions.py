"""`claimtrace definitions`: the definitions and rules behind the digests of decisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from claimtrace.errors import UsageError

from ...console import out, print_json, safe
from ...transports.choice import open_transport

if TYPE_CHECKING:
    from ...wiring.workspace import Workspace

_LEAST_DIGITS = 6

definitions_app = typer.Typer(help="The definitions and rules behind the digests of decisions.")


@definitions_app.command()
def show(
    ctx: typer.Context,
    digest: Annotated[
        str, typer.Argument(help="Digest from a decision, or its first digits (6 or more).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the kept text as JSON.")] = False,
) -> None:
    """Show the definitions or rules that a digest stands for.

    A decision names them in `definitions` and `rules_digest`. The journal keeps their text since it
    was begun or continued by version 0.2.0; what it hands out is checked against the digest. The
    domain of the settings is looked through as well.
    """
    from featurestore.definitions.digest_texts import lines_of

    name, text = found_text(ctx.obj, digest.strip().lower())
    if as_json:
        import msgspec

        print_json({"digest": name, "text": msgspec.json.decode(text)})
        return
    out.print(f"[bold]{name}[/]")
    for line in lines_of(text):
        out.print(f"  {safe(line)}", soft_wrap=True)


def found_text(workspace: Workspace, digest: str) -> tuple[str, bytes]:
    """Return the whole digest, and the text that the journal or the domain has under it.

    Raises:
        UsageError: there is none, or the digits fit several.
        StateError: the journal has another text under the digest.
    """
    if len(digest) < _LEAST_DIGITS or not set(digest) <= set("0123456789abcdef"):
        raise UsageError(
            f"{digest!r} is no digest", where="DIGEST",
            hint=f"give at least {_LEAST_DIGITS} hex digits of a decision's `definitions` or "
            "`rules_digest`",
        )  # fmt: skip
    from stream.journal.kept_texts import unpacked

    known = dict(kept(workspace))
    fits = sorted(name for name in known if name.startswith(digest))
    if len(fits) == 1:
        return fits[0], unpacked(fits[0], known[fits[0]])
    names = ", ".join(name[:12] for name in (fits or sorted(known)))
    raise UsageError(
        f"{'several texts have' if fits else 'no text is kept under'} a digest {digest}...",
        where="DIGEST", hint=f"kept are {names}",
    )  # fmt: skip


def kept(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Yield digests and packed texts, of the domain first, then of the journal."""
    from stream.journal.kept_texts import kept_texts

    yield from workspace.texts().items()
    if not workspace.has_journal:
        return
    with ExitStack() as opened:
        transport = opened.enter_context(open_transport(workspace))
        terms = transport.terms()
        # a journal whose terms have the texts has no others: they can't change under it
        plans = () if terms.texts else transport.plans(any_terms=True)
        yield from kept_texts(terms, plans)
