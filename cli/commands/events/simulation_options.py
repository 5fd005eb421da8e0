"""The options of a simulation, which `simulate` and `producers` share."""

from __future__ import annotations

from typing import Annotated

import typer

Days = Annotated[int, typer.Option(help="Days of history to make.")]
ClaimsPerDay = Annotated[float, typer.Option(help="Claims a day, on average.")]
Policies = Annotated[int, typer.Option(help="Policies in the portfolio at the start.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same bytes.")]
Start = Annotated[str, typer.Option(help="First day, such as 2025-01-01.")]
Fraud = Annotated[float, typer.Option(help="Share of claims that are fraud.")]
