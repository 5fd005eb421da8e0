"""Compare the training with published recipes, on public data with published results.

    python -m benchmarks.public_quality                    all three, some twenty minutes
    python -m benchmarks.public_quality --only carclaims   one of them
    python -m benchmarks.public_quality --json             the same for a program

The data lies beside the checkout, in ../shared/data; its licences don't allow it inside. Every
recipe is run again in the same run, on the same rows.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.command import command, say
from benchmarks.public import aws_claims, carclaims, handbook
from benchmarks.tables import table
from benchmarks.worker import ROOT

DATA: Final = ROOT.parent / "shared" / "data"
SETS: Final = ("handbook", "aws-auto-claims", "carclaims")


def run(models: Path, only: list[str]) -> dict[str, Any]:
    """Measure the chosen data sets."""
    del models  # models are fitted here
    found: dict[str, Any] = {}
    for name in only:
        say(name)
        found[name] = _MEASURES[name](DATA / name)
    return found


def show(found: dict[str, Any]) -> None:
    """Print the figures as Markdown tables, one a data set."""
    if "handbook" in found:
        print(_models("handbook, four test weeks", found["handbook"]))
    if "aws-auto-claims" in found:
        print(_aws(found["aws-auto-claims"]))
    if "carclaims" in found:
        print(_models("carclaims, test 1996", found["carclaims"]))


def _aws(data: dict[str, Any]) -> str:
    published, again, honest = data["published"], data["again"], data["by_policy"]
    rows = [
        (f"AUC published, {part}", f"{published[part]:.5f}", f"{again[part]:.5f}")
        for part in published
    ]
    rows += [
        (f"{name.replace('_', ' ')} by policy, eight fold seeds", "",
         f"{each['mean']:.4f} ({each['low']:.4f} .. {each['high']:.4f})")
        for name, each in honest.items()
    ]  # fmt: skip
    rows.append(("published test rows whose claim was learned from", "", f"{data['leak']:.2%}"))
    return table(("aws-auto-claims", "published", "here"), rows)


def _models(title: str, models: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(models.values())))
    rows = [(name, *(f"{each[metric]:.4f}" for metric in names)) for name, each in models.items()]
    return table((title, *(name.replace("_", " ") for name in names)), rows)


def _measure_aws(data: Path) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        store = aws_claims.streamed(data, Path(folder))
        return {
            "published": aws_claims.PUBLISHED,
            "again": aws_claims.published_again(data),
            "leak": aws_claims.shared_rows(data),
            "by_policy": aws_claims.by_policy(store),
        }


_MEASURES: Final = {
    "handbook": handbook.measure,
    "aws-auto-claims": _measure_aws,
    "carclaims": carclaims.measure,
}

if __name__ == "__main__":
    command(__doc__, run, show, only=(list(SETS), "data sets"))
