"""Tables of a training report about the choice of settings: the search, and directions."""

from __future__ import annotations

from ..tables import Table
from .choice import Directed, Searched


def choice_tables(search: Searched | None, directions: Directed | None) -> list[Table]:
    """Return the tables of what was searched for and compared."""
    tables = []
    if search is not None:
        tables.append(_search(search))
    if directions is not None:
        tables.append(_directions(directions))
    return tables


def _search(found: Searched) -> Table:
    money = found.objective == "money"
    unit = "share of fraud money found" if money else "average precision"
    given_up = f", {found.given_up} given up early" if found.given_up else ""
    best = {None: "the built-in choice", 0: "the built-in choice, with more trees allowed"}.get(
        found.best_trial, f"trial {found.best_trial}"
    )
    rows = [
        ["tried beyond the built-in choice", f"{found.asked}{given_up}"],
        [f"{unit} of the built-in choice", f"{found.built_in:.4f}"],
        [f"{unit} of the best", f"{found.best:.4f} ({found.gain:+.4f})"],
        ["the best one", best],
        ["started from", ", ".join(found.warm_from) or "the built-in choice"],
    ]
    return Table("Search for settings, on claims before the test", ["what", "found"], rows)


def _directions(found: Directed) -> Table:
    free = sorted(set(found.features) - set(found.kept_to))
    rows = [
        ["average precision without directions", f"{found.free:.4f}"],
        [f"with all {len(found.features)} of them", f"{found.every:.4f}"],
        [f"with the {len(found.kept_to)} that the model keeps to", f"{found.kept:.4f}"],
    ]
    if found.mode != "off":
        rows += [["not kept to" if not at else "", name] for at, name in enumerate(free)]
    title = f"Directions of features ({found.mode}), on claims before the test"
    return Table(title, ["what", "found"], rows)
