"""Some two hundred wrong uses: each ends with its exit code, its words, and nothing changed."""

from __future__ import annotations

import encodings.utf_8_sig  # noqa: F401 - who has no rights can't import it later
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.adapters.files.folder_lock import FolderLock
from cli import console
from cli.__main__ import main
from tests.worlds.brief_training import training_briefly

TABLE = Path(__file__).with_name("wrong_use.txt")
NEVER = ("Traceback", "a fault of ours", "\x1b")
NOBODY = 65_534
WITHOUT_RIGHTS = {"locked", "sealed", "kept"}
BYTES = os.fsdecode(b"claims-\xff")


class Row(NamedTuple):
    """One line of the table."""

    state: str
    variables: dict[str, str]
    command: list[str]
    codes: set[int]
    words: list[str]
    never: list[str]


def rows() -> Iterator[Row]:
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        state, command, codes, words, never = line.split("|", 4)
        parts = shlex.split(command)
        variables = {}
        while parts and parts[0].startswith("CLAIMTRACE_"):
            name, _, variables[name] = parts.pop(0).partition("=")
        yield Row(
            state.strip(), variables, parts, {int(code) for code in codes.split(",")},
            [w.strip() for w in words.split(";") if w.strip()],
            [w.strip() for w in never.split(";") if w.strip()],
        )  # fmt: skip


ROWS = list(rows())


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 150
    assert len({(row.state, str(row.variables), *row.command) for row in ROWS}) == len(ROWS)


def run(folder: Path, *arguments: str) -> None:
    assert main(["--folder", str(folder), *arguments]) == 0


def write_inputs(here: Path) -> None:
    """Files that the commands of the table name."""
    claim = {"claim_id": "example-1", "filed_at": "2025-01-20T10:00:00Z", "policy_id": "p-1"}
    texts = {
        "claim.json": json.dumps(claim, indent=1),
        "empty.json": "\n\n",
        "list.json": "[1, 2]",
        "text.json": "hello",
        "twice.jsonl": f"{json.dumps(claim)}\n{json.dumps(claim)}\n",
        "wrong.jsonl": '{"claim_id":"w-1","total_claim_cents":-5}\n{"claim_id":""}\n{"claim_id":7}',
        "claims.csv": "claim_id,filed_at\nc-1,2025-03-01T09:15:00Z\n",
        "claims.txt": "claim_id,filed_at\nc-1,2025-03-01T09:15:00Z\n",
        "claims.toml": MAPPING,
        "topic.toml": MAPPING.replace("claims.filed", "claims.files"),
        "broken.toml": "[stream\nbatch_records = 5",
        "typo.toml": "[stream]\nbatch = 5",
        "secret.toml": '[security]\npassword = "hunter2"',
        "words.toml": '[kafka]\noutput = "twice"',
        "type.toml": 'partitions = "many"',
        "params.toml": "[training.params]\nsubsample = 0.0",
        "limits.toml": "[training.bias_limits]\nRD = -0.1",
        "nolimits.toml": '[training]\ncontract_file = "no_such_limits.json"',
        "garage_domain.py": GARAGE,
        "facet_domain.py": FACET,
    }
    for name, text in texts.items():
        (here / name).write_text(text)
    (here / "latin1.toml").write_bytes('folder = "\u00e4"'.encode("latin-1"))
    (here / "latin1.json").write_bytes('{"claim_id":"l-1","channel":"\u00e4"}'.encode("latin-1"))


MAPPING = """
topic = "claims.filed"
key = "claim_id"
id_field = "claim_id"
time = { field = "filed_at", column = "filed_at", unit = "iso" }
[fields]
claim_id = "claim_id"
"""

GARAGE = """
from claimtrace.events import Category, EntityId, Event, EventId
from featurestore.definitions.domain import Domain
from featurestore.definitions.features import Entity, number


class Parked(Event, topic="cars.parked", id="car_id"):
    car_id: EventId
    owner: EntityId | None = None
    garage: Category | None = None


DOMAIN = Domain("parking", "USD", Parked, (number("parking", "garage"),), Entity("owner", "owner"))
"""

FACET = """
from claimtrace.events import Count, EntityId, Event, EventId
from featurestore.definitions import Domain, Entity, Facet, number


class Parked(Event, topic="cars.parked", id="car_id"):
    car_id: EventId
    owner: EntityId | None = None
    spaces: Count | None = None


DOMAIN = Domain("parking", "USD", Parked, (number("spaces", "spaces"),), Entity("owner", "owner"),
                facets=(Facet("large", feature="spacess", least=2),))
"""


class States:
    """Folders in the states of the table, made when first needed and shared: nothing may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.current = root / "current"
        self.current.mkdir()
        self.current.chmod(0o777)
        self.held = ExitStack()
        self._made: dict[str, Path] = {}

    def folder(self, state: str) -> Path:
        if state not in self._made:
            folder = self.root / state
            self._made[state] = getattr(self, f"_{state}")(folder) or folder
        return self._made[state]

    def _none(self, folder: Path) -> None:
        """Prepare a folder that doesn't exist."""

    def _empty(self, folder: Path) -> None:
        folder.mkdir()

    def _file(self, folder: Path) -> None:
        folder.write_text("a file")

    def _below(self, folder: Path) -> Path:
        return self.folder("file") / "data"

    def _bytes(self, folder: Path) -> Path:
        return folder.with_name(BYTES)

    def _long(self, folder: Path) -> Path:
        folder.mkdir()
        return folder / ("x" * 300)

    def _settings(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "claimtrace.toml").write_text("zebra = 1\n")

    def _locked(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o555)

    def _sealed(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "claimtrace.toml").write_text("")
        folder.chmod(0)

    def _kept(self, folder: Path) -> None:
        shutil.copytree(self.folder("trained"), folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

    def _decided(self, folder: Path) -> None:
        run(folder, "simulate", "--days", "20", "--claims-per-day", "20", "--policies", "300")
        run(folder, "stream", "--until-end")

    def _trained(self, folder: Path) -> None:
        run(folder, "simulate", "--days", "150", "--claims-per-day", "30", "--policies", "3000",
            "--fraud", "0.3")  # fmt: skip
        run(folder, "stream", "--until-end")
        with training_briefly():
            run(folder, "train", "--capacity", "4")

    def _begun(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        record = folder / "simulation.json"
        record.write_text(record.read_text().replace('"finished": true', '"finished": false'))

    def _demoing(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        (folder / "demo.unfinished").write_text("claimtrace demo --quick --seed 7\n")

    def _textlog(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        (folder / "log.db").write_text("not a database, but long enough to look like one" * 99)

    def _badplan(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        journal = folder / "state" / "journal"
        lines = journal.read_bytes().split(b"\n")
        lines[1] = lines[1][:-9] + b"x" * 9
        journal.write_bytes(b"\n".join(lines))

    def _held(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        self.held.enter_context(FolderLock(folder / "state"))

    def _badmodel(self, folder: Path) -> None:
        shutil.copytree(self.folder("trained"), folder)
        model = next((folder / "models").rglob("model.json"))
        model.chmod(0o644)
        model.write_bytes(model.read_bytes().replace(b"0", b"1", 1))

    def _nofile(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        next((folder / "offline" / "decisions").glob("*.parquet")).unlink()

    def _halffile(self, folder: Path) -> None:
        shutil.copytree(self.folder("decided"), folder)
        file = next((folder / "offline" / "decisions").glob("*.parquet"))
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.fixture(scope="module")
def states() -> Iterator[States]:
    # not below pytest's own folder, which other users can't enter
    root = Path(tempfile.mkdtemp(prefix="wrong-use-"))
    root.chmod(0o755)
    made = States(root)
    try:
        made.folder("trained")  # first: later rows without rights can't compile kernels
        yield made
    finally:
        made.held.close()
        for path in root.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def here(states: States) -> Path:
    here = states.root / "here"
    here.mkdir()
    write_inputs(here)
    with EmbeddedLog(states.folder("decided") / "log.db") as log:
        decided = log.read("claims.filed", 0, 0, 1)[0].value
    (here / "decided.json").write_bytes(decided)
    return here


@contextmanager
def rights(state: str) -> Iterator[None]:
    """Take root's rights away where a state is about rights."""
    if state not in WITHOUT_RIGHTS or os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def contents(folder: Path) -> list[tuple[str, int, int]] | str:
    """Every file with its size and time; not what readers of SQLite and the lock leave."""
    try:
        return [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted([folder, *folder.rglob("*")])
            if path.is_file() and not path.name.endswith(("-wal", "-shm")) and path.name != "lock"
        ] or f"nothing, {os.path.lexists(folder)}"
    except OSError as error:
        return str(error)


def title(row: Row) -> str:
    variables = [f"{name.removeprefix('CLAIMTRACE_')}={v}" for name, v in row.variables.items()]
    return " ".join([row.state, *variables, *row.command]).replace(BYTES, "BYTES")[:90]


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_a_wrong_use_is_told(
    row: Row,
    states: States,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = states.folder(row.state)

    def filled(text: str) -> str:
        for name, value in (("{here}", here), ("{folder}", folder), ("{bytes}", BYTES)):
            text = text.replace(name, str(value))
        return text

    for name, value in row.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    for stream in (console.out, console.err):
        monkeypatch.setattr(stream, "_width", 4000)
    monkeypatch.chdir(states.current)
    for left in states.current.iterdir():  # of a row before that failed
        left.unlink()
    before = contents(folder)
    capsys.readouterr()
    with rights(row.state):
        code = main(["--folder", str(folder), *map(filled, row.command)])
    printed = capsys.readouterr()
    told = " ".join((printed.out + printed.err).split())
    assert code in row.codes, told
    for word in row.words:
        assert filled(word) in told
    for word in (*NEVER, *row.never):
        assert filled(word) not in told
    if code:
        assert contents(folder) == before
    assert not list(states.current.iterdir())
