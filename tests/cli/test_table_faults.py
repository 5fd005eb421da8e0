"""Tables that real programs write, each with its right value: read exactly, or refused by name.

The files are in `tests/worlds/faults`; all rows are made up. Each stands for a kind, whose property
tests are in `tests/producers/replay`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from claimtrace.adapters.embedded_log.log import EmbeddedLog
from claimtrace.decisions import DEAD_TOPIC
from claimtrace.events import Record
from cli.__main__ import main

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "worlds" / "faults"
SHOP_COUNT = '"repair_shop.claims.count.30d"'


class Folder(NamedTuple):
    """A folder of claimtrace, and commands on it."""

    path: Path
    capsys: pytest.CaptureFixture[str]

    def ask(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(["--folder", str(self.path), *arguments])
        printed = self.capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    def replay(self, file: str | Path, mapping: str | Path = "m.toml") -> dict[str, Any]:
        code, out, err = self.ask(
            "replay", str(FAULTS / file), "--mapping", str(FAULTS / mapping), "--json"
        )
        assert code == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    def stream(self) -> dict[str, int]:
        code, out, err = self.ask("stream", "--until-end", "--json")
        assert code == 0, err
        counts: dict[str, int] = json.loads(out)["counts"]
        return counts

    def sql(self, query: str) -> list[dict[str, Any]]:
        code, out, err = self.ask("offline", "sql", "--json", query)
        assert code == 0, err
        rows: list[dict[str, Any]] = json.loads(out)
        return rows

    def records(self, topic: str) -> list[Record]:
        with EmbeddedLog(self.path / "log.db") as log:
            partitions = log.topics()[topic]
            return [each for p in range(partitions) for each in log.read(topic, p, 0, 10**6)]

    def events(self, topic: str = "claims.filed") -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.records(topic)]


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path / "data", capsys)


def changed(tmp_path: Path, mapping: str, *lines: str) -> Path:
    """Return a mapping with lines put before its first table."""
    text = (FAULTS / mapping).read_text(encoding="utf-8-sig")
    path = tmp_path / f"changed-{mapping}"
    path.write_text("\n".join(lines) + "\n" + text)
    return path


@pytest.fixture
def far_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_zone")
@pytest.mark.parametrize(
    ("file", "mapping", "words"),
    [
        ("csv-unclosed-quote-last-column.csv", "m.toml", ["line 3", "quote that isn't closed"]),
        ("parquet-duplicate-column.parquet", "m.toml", ["two columns 'total_amount'"]),
        ("parquet-list-id.parquet", "m.toml", ["is a list", "row 1 column repair_shop"]),
        ("csv-one-date-in-2205.csv", "m.toml", ["time_out_of_range", "row 5 column filed_at"]),
        ("csv-sentinel-date-9999.csv", "m.toml", ["time_out_of_range", "row 2 column filed_at"]),
        ("csv-time-us-as-ms.csv", "m_us-as-ms.toml", ["row 1 column filed_at", "unit = 'us'"]),
        ("csv-amount-hugeexp2.csv", "m.toml", ["out_of_range", "row 1 column total_amount"]),
        ("csv-amount-third-decimal.csv", "m.toml", ["10.005", "decimals than the currency"]),
        ("csv-zone-abbreviation.csv", "m_z.toml", ["EST", "exact zone", "row 1 column filed_at"]),
        ("csv-utf8-bom.csv", "m_typo2.toml", ["total_claim_cent", "mean total_claim_cents?"]),
        ("csv-next-month.csv", "m_typo.toml", ["'Fraud', which is no label", "mean 'fraud'?"]),
        ("csv-semicolon-decimal-comma.csv", "m.toml", ["separated by ';'", 'delimiter = ";"']),
        ("csv-utf16.csv", "m.toml", ["UTF-16", "encoding = 'utf-16'"]),
        ("csv-latin1.csv", "m.toml", ["not in utf-8", "0xe4", "latin-1"]),
    ],
)
def test_a_table_is_refused_by_name_and_nothing_is_written(folder, file, mapping, words):
    code, out, err = folder.ask("replay", str(FAULTS / file), "--mapping", str(FAULTS / mapping))
    assert code == 2, out
    for each in words:
        assert each in err
    assert file in err or mapping in err
    assert "Traceback" not in err
    assert not folder.path.exists()


def test_a_table_is_read_as_its_mapping_says(folder, tmp_path):
    for file, lines, field, right in (
        ("csv-semicolon-decimal-comma.csv", ("delimiter = ';'", "decimal = ','"),
         "total_claim_cents", 123450),
        ("csv-utf16.csv", ("encoding = 'utf-16'",), "repair_shop_id", "shop-7"),
        ("csv-latin1.csv", ("encoding = 'latin-1'",), "repair_shop_id", "Gar\u00e4ge"),
        ("csv-utf8-bom.csv", (), "claim_id", "c-0001"),
        ("csv-amount-third-decimal.csv", ("thousands = '.'", "decimal = ','"),
         "total_claim_cents", 1_000_500),
    ):  # fmt: skip
        at = folder._replace(path=tmp_path / file)
        at.replay(file, changed(tmp_path, "m.toml", *lines))
        assert min(at.events(), key=lambda e: e["claim_id"])[field] == right


def test_a_mapping_may_begin_with_a_byte_order_mark(folder):
    assert folder.replay("csv-next-month.csv", "mapping-utf8-bom.toml")["rows"] == 6


def test_labels_are_about_the_claim_without_an_id_field(folder):
    folder.replay("csv-next-month.csv", "m_noid.toml")
    labels = folder.events("claims.adjudicated")
    assert sorted(label["claim_id"] for label in labels) == [f"n-{i}" for i in range(20, 26)]


def test_rows_without_a_label_are_counted_with_their_texts(folder):
    report = folder.replay("csv-label-spellings.csv")
    assert report["events"] == {"claims.filed": 13, "claims.adjudicated": 2}
    without = report["rows_without_label"]
    assert (without["total"], without["text_not_in_values"], without["missing"]) == (11, 9, 2)
    code, out, _ = folder._replace(path=folder.path / "again").ask(
        "replay", str(FAULTS / "csv-label-spellings.csv"), "--mapping", str(FAULTS / "m.toml")
    )
    assert code == 0
    said = " ".join(out.split())
    assert "13 rows read" in said
    assert "2 events of claims.adjudicated" in said
    assert "11 rows without a label" in said
    assert "9 rows with a text that `values` doesn't name: '1 ', ' 1', '1.0', '01'" in said


@pytest.mark.slow
class TestOnTheStream:
    """What becomes of the rows in features, labels and dead letters."""

    def test_no_spelling_of_missing_links_claims(self, folder):
        assert folder.replay("csv-missing-value-spellings.csv")["rows"] == 150
        counts = folder.stream()
        assert (counts["claims"], counts["dead"], counts["referred"]) == (150, 0, 0)

    def test_whole_floats_are_integers(self, folder):
        report = folder.replay("parquet-float-ids-and-labels.parquet")
        assert report["events"] == {"claims.filed": 6, "claims.adjudicated": 5}
        folder.replay("parquet-int-ids-and-labels.parquet")
        assert folder.stream()["dead"] == 0
        (row,) = folder.sql(f"select {SHOP_COUNT} n from vectors where claim_id = 'd-0'")
        assert row["n"] == 5
        found = folder.sql("select claim_id, is_fraud from labels where claim_id like 'c-%'")
        assert {(row["claim_id"], row["is_fraud"]) for row in found} == {
            ("c-0", False), ("c-1", True), ("c-3", True), ("c-4", False), ("c-5", True),
        }  # fmt: skip

    def test_bytes_are_text_in_utf8(self, folder):
        report = folder.replay("parquet-binary-strings.parquet")
        assert report["events"] == {"claims.filed": 6, "claims.adjudicated": 6}
        assert {event["policy_id"] for event in folder.events()} == {f"p-{i}" for i in range(6)}
        counts = folder.stream()
        assert (counts["dead"], counts["unseen_categories"], counts["labels"]) == (0, 0, 6)

    def test_nan_is_missing(self, folder):
        folder.replay("parquet-nan-amount.parquet")
        assert all("injury_claim_cents" not in event for event in folder.events())
        assert folder.stream()["dead"] == 0
        assert {row["injury_claim"] for row in folder.sql("select injury_claim from vectors")} == {
            None
        }

    def test_a_date_far_ahead_makes_no_other_claim_late(self, folder, tmp_path):
        """Once refused with its file, once alone; the claims of the next month count either way."""
        dead = changed(tmp_path, "m.toml", "on_bad_row = 'dead'")
        for at, mapping in (("stop", None), ("dead", dead)):
            here = folder._replace(path=tmp_path / at)
            before = 0
            if mapping is not None:
                report = here.replay("csv-one-date-in-2205.csv", mapping)
                assert report["rows_refused"] == {"time_out_of_range": 1}
                before = report["events"]["claims.filed"]
                assert before == report["rows"] - 1
                (letter,) = here.records(DEAD_TOPIC)
                told = {name: text.decode() for name, text in letter.headers}
                assert told["x-dead-reason"] == "time_out_of_range"
                assert (told["x-dead-row"], told["x-dead-column"]) == ("5", "filed_at")
                assert json.loads(letter.value or b"")["claim_id"] == "c-0005"
            here.replay("csv-next-month.csv")
            counts = here.stream()
            assert (counts["late"], counts["dead"]) == (0, 0)
            rows = here.sql(f"select {SHOP_COUNT} n from vectors where claim_id like 'n-%'")
            assert sorted(row["n"] for row in rows)[-1] >= 5
            assert None not in [row["n"] for row in rows]

    def test_a_sentinel_date_is_one_refused_row(self, folder, tmp_path):
        mapping = changed(tmp_path, "m.toml", "on_bad_row = 'dead'")
        report = folder.replay("csv-sentinel-date-9999.csv", mapping)
        assert report["rows_refused"] == {"time_out_of_range": 1}
        assert folder.stream()["claims"] == 2

    def test_a_date_is_readable_in_every_time_field(self, folder):
        assert folder.replay("csv-kaggle-shape.csv", "m_k.toml")["rows"] == 3
        assert {event["incident_at"][10:] for event in folder.events()} == {"T00:00:00.000Z"}
        counts = folder.stream()
        assert (counts["claims"], counts["dead"]) == (3, 0)

    @pytest.mark.parametrize("mapping", ["m_delay0.toml", "m_delay1.toml"])
    def test_a_label_without_delay_joins_its_claim(self, folder, mapping):
        assert folder.replay("csv-label-delay-zero.csv", mapping)["events"] == {
            "claims.filed": 10, "claims.adjudicated": 10,
        }  # fmt: skip
        counts = folder.stream()
        assert (counts["labels"], counts["unmatched_labels"], counts["dead"]) == (10, 0, 0)

    def test_a_claim_has_one_verdict(self, folder):
        folder.replay("label-reversed-claims.csv", "m_nolab.toml")
        folder.replay("label-reversed-adjudications.csv", "m_adj.toml")
        folder.stream()
        (row,) = folder.sql(
            'select "repair_shop.fraud.rate.180d" rate, "repair_shop.fraud.count.180d" frauds '
            "from vectors where claim_id = 'c-0099'"
        )
        assert row == {"rate": pytest.approx(1 / 3), "frauds": 1}


def test_the_commands_of_the_page_run_as_printed(tmp_path, monkeypatch, capsys):
    for name in ("claims.csv", "replay_claims.toml"):
        shutil.copy(ROOT / "claimtrace_examples" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "replay.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (command,) = block.splitlines()
    assert main(shlex.split(command)[1:]) == 0
    said = capsys.readouterr().out
    assert "rows read" in said
    assert "refused" not in said


def test_every_file_is_used():
    said = Path(__file__).read_text()
    unnamed = [path.name for path in FAULTS.iterdir() if path.name not in said]
    assert unnamed == []
