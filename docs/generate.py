"""Write the generated references (`make docs`); a test compares them with what stands here."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from claimtrace.event_flags import FLAG_NAMES
from claimtrace.refusals import REASONS
from claimtrace.settings.schema import Settings
from featurestore.definitions.catalogue import describe
from featurestore.definitions.domain import load_domain
from stream.adapters.reporting.prometheus import METRICS, OTHER, REBALANCES, STORES
from stream.adapters.reporting.sns_message import RESULTS
from stream.decisions.outcomes import OUTCOMES
from training.bias.metrics import AFTER, BEFORE, FT

sys.path.insert(0, str(Path(__file__).parents[1]))
from docs.map import with_map

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; change the code, then `make docs`. -->\n"


def settings_page() -> str:
    """Every setting with its default, its variable and what it does."""
    lines = [
        NOTE,
        "# Settings",
        "",
        "Defaults, then `claimtrace.toml`, then `CLAIMTRACE_...` variables, then `--folder` and",
        "`--source`. The file is the one that `--config` names, else `claimtrace.toml` here, else",
        "the one in the folder, however that was named. An error names the option, the variable or",
        "the file that has the value, and the words that are allowed. Secrets: from variables, or",
        "from files that `password_file` names; never from the settings file.",
        "",
        "```toml",
        "# claimtrace.toml",
        'folder = "claimtrace-data"',
        "",
        "[decision]",
        "capacity_per_day = 40",
        "```",
        "",
        "| setting | default | variable | what |",
        "|---|---|---|---|",
    ]
    for path, default, words in _rows(Settings, ""):
        variable = "CLAIMTRACE_" + path.upper().replace(".", "__")
        lines.append(f"| `{path}` | `{default}` | `{variable}` | {words} |")
    return "\n".join(lines) + "\n"


def features_page() -> str:
    """Every feature of the two domains."""
    lines = [NOTE, "# Features", ""]
    for name in ("claimtrace_examples.auto_claims", "claimtrace_examples.card_payments"):
        domain = load_domain(name)
        lines += [
            f"## {domain.name}: {len(domain.features)} features",
            "",
            f"Defined in the module `{name}`. The vector has them in this order.",
            "",
            "| | feature | kind | how | in words |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row.place} | `{row.name}` | {row.kind} | {row.how} | {row.text} |"
            for row in describe(domain)
        ]
        lines.append("")
    return "\n".join(lines)


def refusals_page() -> str:
    """Every reason of a dead letter and every flag of a decision."""
    lines = [
        NOTE,
        "# Dead letters and flags",
        "",
        "What is wrong with a record stands in the headers `x-dead-reason`, `-field`, `-detail`",
        "and `-hint` on `claims.dead`; key and value are those that came in. [Reading](reading.md)",
        "says how `claimtrace dead` lists, shows and resends them.",
        "",
        "| reason | what the sender can do |",
        "|---|---|",
        *(f"| `{reason}` | {hint} |" for reason, hint in REASONS.items()),
        "",
        "What is odd, but no reason to refuse, stands in a decision's `flags`: "
        + ", ".join(f"`{name}`" for name in FLAG_NAMES.values())
        + ", `no_model`, `model_error`.",
    ]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric of a worker."""
    lines = [
        NOTE,
        "# Metrics",
        "",
        "What `/metrics` of a worker has, when `metrics.listen` is set; what to look at stands in",
        "[monitoring.md](monitoring.md). A histogram has three series: `_bucket` (with the label",
        "`le`), `_sum` and `_count`; so no counter of batches, snapshots or appends beside it.",
        "`process_...` (memory, CPU, open files) are those of every Prometheus client. CloudWatch",
        "gets the same when `aws.metrics_namespace` is set: see [aws.md](aws.md).",
        "",
        "| metric | kind | labels | what |",
        "|---|---|---|---|",
    ]
    for row in METRICS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{row.name}` | {row.kind} | {labels} | {row.help} |")
    lines += [
        "",
        "Counters start at zero with the worker. What is counted of records belongs to the owned",
        "partitions, so sums over workers are right; plan number, position and lag are of all",
        "partitions on each worker, so take their maximum.",
        "",
        "| label | values |",
        "|---|---|",
        f"| `outcome` | {_listed(OUTCOMES)} |",
        f"| `kind` | {_listed(REBALANCES)} |",
        f"| `store` | {_listed(STORES)} |",
        f"| `result` | {_listed(RESULTS)} |",
        "| `topic`, `partition` | those of the domain |",
        "| `model`, `version`, `kernel` | those of the registry; `numba`, or the slow `xgboost` |",
        "",
        f"Anything else would be `{OTHER}`: no label can hold what came in with an event.",
    ]
    return "\n".join(lines) + "\n"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def architecture_page() -> str:
    """The page of the architecture, with the map of today's folders."""
    return with_map((HERE / "architecture.md").read_text(encoding="utf-8"))


def bias_page() -> str:
    """The guide to bias, with the table of today's metrics between its marks."""
    page = (HERE / "bias.md").read_text(encoding="utf-8")
    start, end = (f"<!-- {words} -->\n" for words in (
        "the metrics: written by docs/generate.py", "end of the metrics"))  # fmt: skip
    lines = []
    for title, metrics in (("labels", BEFORE), ("outcomes", (*AFTER, FT))):
        lines += [f"| metric of {title} | in one sentence | formula |", "|---|---|---|"]
        lines += [f"| {each.code} | {each.words} | `{each.formula}` |" for each in metrics]
        lines.append("")
    before, _, rest = page.partition(start)
    return before + start + "\n" + "\n".join(lines) + end + rest.partition(end)[2]


PAGES = {
    "bias.md": bias_page,
    "architecture.md": architecture_page,
    "settings.md": settings_page,
    "features.md": features_page,
    "dead-letters.md": refusals_page,
    "metrics.md": metrics_page,
}


def _rows(kind: type, prefix: str) -> list[tuple[str, object, str]]:
    words = _words_of(kind)
    rows: list[tuple[str, object, str]] = []
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            rows += _rows(inner, f"{prefix}{field.name}.")
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else {}
        rows.append((prefix + field.name, default, words.get(field.name, "")))
    return rows


def _words_of(kind: type) -> dict[str, str]:
    """The string that stands under each field of a class, and of the structs that it extends."""
    words: dict[str, str] = {}
    for each in kind.__mro__:
        if each is not msgspec.Struct and issubclass(each, msgspec.Struct):
            words = {**_words_in(each), **words}
    return words


def _words_in(kind: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(
        n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__
    )
    words = {}
    for at, node in enumerate(body[:-1]):
        after = body[at + 1]
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            words[node.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return words


def main() -> int:
    """Write all pages; returns how many changed."""
    changed = 0
    for name, page in PAGES.items():
        path = HERE / name
        text = page()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed += 1
            sys.stdout.write(f"wrote docs/{name}\n")
    return changed


if __name__ == "__main__":
    main()
