"""Writes the folder of an edition: what this version leaves on the disk, for later ones to read.

    cp -r tests/compat/edition_4 tests/compat/edition_5            # in a checkout of that version
    mv tests/compat/edition_5/claimtrace_edition_{4,5}.py
    .venv/bin/python -m tests.compat.make tests/compat/edition_5

An edition has:

    claimtrace_edition_N.py   its domain, frozen; edit it before the folder is written, never after
    folder/                   log, journal, snapshots, models, offline rows
    more/                     further events, with mappings for `claimtrace replay`
    expected.json             how many outputs the folder has, and their SHA-256: before and after
                              `more` was streamed

Make a new one when a format or the bytes of a decision change, with the code that makes the change;
keep the older ones. What is written isn't the same twice: a journal and a model say when they were
made. So the folder and `expected.json` belong together.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.compat.editions import (
    MORE,
    Crashed,
    copy_of,
    files_in,
    further_events,
    pack,
    proofs,
    succeed,
)

START = datetime(2025, 1, 1, tzinfo=UTC)
PHASES = (0, 200, 225, 255, 265)
"""Days between which events arrive: before there is a model, under it, after the newest snapshot,
and the further events."""
CLAIMS_A_DAY, CONTRACTS, SHOPS, ACCOUNTS = 1.4, 150, 12, 40
MOST_BYTES, BLOCK_BYTES = 1_000_000, 4096
SETTINGS = """\
# What isn't said here is the default of the version that opens the folder.
domain = "{domain}"
partitions = 2

[stream]
batch_records = 50

[decision]
capacity_per_day = 0.3
review_per_day = 0.6
reasons_for = "review"

[drift]
window = "10d"
min_count = 5
alert_m = 1
alert_n = 2

[guard]
window = "10d"
min_count = 5
referral_ratio = 1.01
error_ratio = 0.0

[training]
min_frauds = 3
report = false
params = {{ rounds = 12, least_rounds = 12, max_depth = 2, eta = 0.3 }}
"""
TOPICS = {
    "contracts": ("bikes.contracts", "contract_id", "changed_at"),
    "adjudicated": ("bikes.adjudicated", "claim_id", "decided_at"),
    "claimed": ("bikes.claimed", "contract_id", "filed_at"),
}
COLUMNS = {
    "contracts": ["change_id", "contract_id", "inception_at", "premium", "cover", "region"],
    "adjudicated": ["adjudication_id", "claim_id", "outcome", "source"],
    "claimed": [
        "claim_id", "happened_at", "currency", "contract_id", "shop_id", "phone", "second_phone",
        "account", "cause", "severity", "month", "witnesses", "parts_cents", "total_cents",
    ],
}  # fmt: skip
ODD_IDS = {
    1: ("shop_id", "SHOP\u20130"),
    3: ("shop_id", "\u00a0shop-0 "),
    5: ("shop_id", "n.a."),
    9: ("account", "(null)"),
    13: ("account", "DE\u201277\u20020000"),
    19: ("phone", "-1"),
    21: ("shop_id", "house  account"),
    25: ("second_phone", "not available"),
    27: ("shop_id", "#REF!"),
}
"""Ids of some claims: other spellings of ids, and of missing ones."""
REVISIONS = (
    (19, "reversed", 4, ""),
    (7, "older", -3, ""),
    (12, "retracted", 6, "retracted"),
    (24, "again", 9, "fraud"),
)
"""Outcomes about each n-th claim: its name, days after the first outcome, and what it says."""
INTEGERS = ("premium", "month", "witnesses", "parts_cents", "total_cents")

Event = tuple[datetime, str, dict[str, Any]]
"""When it arrives, which of `TOPICS` it is on, and its fields."""


def main(edition: Path) -> None:
    """Write everything but the domain."""
    folder, domain = edition / "folder", next(edition.glob("claimtrace_edition_*.py")).stem
    for old in (folder, edition / "more"):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir()
    (folder / "claimtrace.toml").write_text(SETTINGS.format(domain=domain))
    events = sorted(all_events(random.Random(1)), key=lambda event: event[0])
    with tempfile.TemporaryDirectory() as aside:
        scratch = Path(aside)
        for phase, then in enumerate((train, roll_out, None)):
            write_tables(events, phase, edition / "more")  # in turn; the last one stays
            commands = [*further_events(edition, folder), base(folder, "stream", "--until-end")]
            if then is not None:
                print(*succeed(edition, scratch, commands)[len(MORE) :], sep="\n")
                then(edition, scratch, folder)
            else:
                succeed(edition, scratch, commands[:-1])
                end_before_the_snapshot(edition, scratch, commands[-1])
        write_tables(events, len(PHASES) - 2, edition / "more")
        tidy(folder)
        checks = [base(folder, "verify"), base(folder, "doctor")]
        print(*succeed(edition, scratch, checks), sep="\n")
        tidy(folder)
        expected = {"folder": proofs(folder / "log.db"), "sizes": sizes(folder)}
        pack(folder)
        copy = copy_of(edition, scratch / "copy")
        commands = [*further_events(edition, copy), base(copy, "stream", "--until-end")]
        print(succeed(edition, scratch, commands)[-1])
        expected["after_more"] = proofs(copy / "log.db")
    (edition / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    files = files_in(edition)
    size = sum(-(-path.stat().st_size // BLOCK_BYTES) * BLOCK_BYTES for path in files)
    print(f"{size:,} bytes in {len(files)} files")
    assert size < MOST_BYTES, "an edition is kept for ever in the repository: make it smaller"


def train(edition: Path, scratch: Path, folder: Path) -> None:
    """Publish the first version."""
    print(*succeed(edition, scratch, [base(folder, "train")]))


def roll_out(edition: Path, scratch: Path, folder: Path) -> None:
    """Publish two more versions, and let them score beside the champion."""
    asked = [base(folder, "train", "--capacity", more) for more in ("1.3", "0.2")]
    told = succeed(edition, scratch, [*asked, base(folder, "models", "--json")])
    others = [each["model"]["version"] for each in json.loads(told[-1]) if not each["alias"]]
    # trained on the same claims, it is no better than the champion
    waive = ["models", "approve", str(others[0]), "--waive", "quality", "--reason", "to be kept"]
    succeed(edition, scratch, [base(folder, *waive)])
    start = ["rollout", "start", "--canary", str(others[0]), "--share", "40%", "--shadow",
             str(others[1]), "--reason", "to be kept", "--actor", "keeper"]  # fmt: skip
    print(*succeed(edition, scratch, [base(folder, *start), base(folder, "rollout")]), sep="\n")


def base(folder: Path, *command: str) -> list[str]:
    """A command on the folder."""
    return ["--folder", str(folder), *command]


def end_before_the_snapshot(edition: Path, scratch: Path, command: list[str]) -> None:
    """Stream, but end as in a crash when the last snapshot is begun: plans stay behind the newest.

    Raises:
        RuntimeError: the process didn't end there.
    """
    with contextlib.suppress(Crashed):
        succeed(edition, scratch, [command], CRASH_AT="begun")
        raise RuntimeError("no snapshot was begun")


def tidy(folder: Path) -> None:
    """Leave one file of the log, the newest snapshot, and nothing of this machine."""
    database = sqlite3.connect(folder / "log.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    for name in ("checked", "lock"):
        path = folder / "state" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    snapshots = folder / "state" / "snapshots"
    for path in [*snapshots.glob("*.aside"), *sorted(snapshots.glob("snapshot-*.bin"))[:-1]]:
        path.unlink()
    for path in (folder / "offline").rglob("_delta_log/*.json"):
        path.write_text(path.read_text().replace(folder.as_uri(), "file:///folder"))


def sizes(folder: Path) -> dict[str, int]:
    """How many plans and snapshots the folder has: a test sees that none got lost."""
    lines = (folder / "state" / "journal").read_bytes().splitlines()
    return {
        "plans": len(lines) - 1,
        "snapshots": len(list((folder / "state" / "snapshots").glob("snapshot-*.bin"))),
    }


def write_tables(events: list[Event], phase: int, into: Path) -> None:
    """The events that arrive in a phase, as tables with their mappings."""
    into.mkdir(exist_ok=True)
    first, last = (START + timedelta(days=days) for days in PHASES[phase : phase + 2])
    for name, (topic, key, time) in TOPICS.items():
        columns = ["arrives_at", time, *COLUMNS[name]]
        with (into / f"{name}.csv").open("w", newline="") as file:
            rows = csv.DictWriter(file, columns, lineterminator="\n")
            rows.writeheader()
            for at, kind, fields in events:
                if kind == name and first <= at < last:
                    rows.writerow({"arrives_at": iso(at), **fields})
        lines = [
            f'topic = "{topic}"',
            f'key = "{key}"',
            f'time = {{ field = "{time}", column = "{time}" }}',
            'arrival = { column = "arrives_at" }',
            "",
            "[fields]",
            *(f"{column} = {column_of(column)}" for column in COLUMNS[name]),
        ]
        (into / f"{name}.toml").write_text("\n".join(lines) + "\n")


def column_of(column: str) -> str:
    """The column of the same name, in TOML."""
    if column in INTEGERS:
        return f'{{ column = "{column}", kind = "integer" }}'
    return f'"{column}"'


def all_events(draw: random.Random) -> Iterator[Event]:
    """All events of the insurer; among them late, repeated and wrong ones."""
    contracts = [f"k-{number}" for number in range(CONTRACTS)]
    inceptions = {each: START + timedelta(days=draw.uniform(-400, 240)) for each in contracts}
    for number, each in enumerate(contracts):
        for change, days in enumerate((0.0, draw.uniform(20, 250))[: 1 + (number % 4 == 0)]):
            at = START + timedelta(days=days, minutes=number)
            fields = {
                "change_id": f"{each}.{change}",
                "changed_at": iso(at),
                "contract_id": each,
                "inception_at": iso(inceptions[each]),
                "premium": draw.randrange(40, 400),
                "cover": draw.choice(["basic", "full"]),
                "region": draw.choice(["north", "south", "abroad", "moon"]),
            }
            yield at, "contracts", fields
    for number in range(round(CLAIMS_A_DAY * PHASES[-1])):
        yield from claim(draw, number, contracts)


def claim(draw: random.Random, number: int, contracts: list[str]) -> Iterator[Event]:
    """A claim, and in most cases its outcome."""
    filed = START + timedelta(days=(number + draw.random()) / CLAIMS_A_DAY)
    is_fraud = draw.random() < 0.25
    total = round(draw.lognormvariate(12.4 if is_fraud else 11.3, 0.5))
    ring = draw.random() < 0.6 if is_fraud else draw.random() < 0.05
    fields: dict[str, Any] = {
        "claim_id": f"c-{number}",
        "filed_at": iso(filed),
        "happened_at": iso(filed - timedelta(days=draw.expovariate(0.2))),
        "currency": "EUR",
        "contract_id": draw.choice(contracts),
        "shop_id": "shop-0" if ring else f"shop-{draw.randrange(SHOPS)}",
        "phone": f"+49 (0)30 {draw.randrange(70):03d}",
        "second_phone": f"004930{draw.randrange(70):03d}" if draw.random() < 0.2 else "",
        "account": "DE 77-0000" if ring else f"DE{draw.randrange(ACCOUNTS):06d}",
        "cause": draw.choice(["theft", "theft", "fall", "crash", "flood"]),
        "severity": draw.choice(["scratch", "broken", "gone"]),
        "month": filed.month,
        "witnesses": draw.choice(["", 0, 1, 2]),
        "parts_cents": round(total * draw.random()),
        "total_cents": total,
    }
    arrives = filed
    oddity = number % 40
    if oddity == 7:
        arrives = filed + timedelta(days=6)  # late, and counted
    elif oddity == 17:
        arrives = filed + timedelta(days=45)  # too late to be counted
    elif oddity == 33:
        fields["shop_id"] = "unknown"
    elif oddity in ODD_IDS:
        name, text = ODD_IDS[oddity]
        fields[name] = text
    yield arrives, "claimed", fields
    if oddity == 11:
        yield arrives + timedelta(hours=5), "claimed", fields
    if oddity == 37:  # a dead letter: `replay` refuses values that a worker would refuse
        yield arrives + timedelta(hours=5), "claimed", {**fields, "total_cents": total + 1}
    if draw.random() < 0.9:
        decided = arrives + timedelta(days=draw.uniform(5, 25))
        outcome = {
            "adjudication_id": f"a-{number}",
            "decided_at": iso(decided),
            "claim_id": f"c-{number}" if number % 50 else f"nobody-{number}",
            "outcome": ("fraud" if is_fraud else "legit") if number % 30 else "withdrawn",
            "source": "inspector",
        }
        yield decided, "adjudicated", outcome
        yield from revisions(draw, number, decided, outcome)
    elif number % 2:  # settled at the counter: in the same millisecond as the claim
        outcome = {
            "adjudication_id": f"a-{number}",
            "decided_at": iso(filed),
            "claim_id": f"c-{number}",
            "outcome": "legit",
            "source": "counter",
        }
        yield arrives, "adjudicated", outcome


def revisions(
    draw: random.Random, number: int, decided: datetime, outcome: dict[str, Any]
) -> Iterator[Event]:
    """Outcomes that replace the first one, that come too late to replace it, or take it back."""
    opposite = "legit" if outcome["outcome"] == "fraud" else "fraud"
    for every, name, days, text in REVISIONS:
        if number % every == every - 1:
            then = decided + timedelta(days=days)
            arrives = max(then, decided) + timedelta(days=draw.uniform(0, 6))
            fields = {
                **outcome,
                "adjudication_id": f"a-{number}.{name}",
                "decided_at": iso(then),
                "outcome": text or opposite,
            }
            yield arrives, "adjudicated", fields


def iso(at: datetime) -> str:
    """As it stands in a table."""
    return at.isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
