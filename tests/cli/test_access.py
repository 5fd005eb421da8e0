"""`claimtrace keys` and `claimtrace audit`, what doctor says of rights, and rights at start-up."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from claimtrace.errors import ConfigError
from claimtrace.settings.loading import load_settings
from claimtrace.settings.schema import ServeSettings, Settings
from cli.__main__ import main
from cli.commands.start.doctor_serving import check_serving
from cli.wiring.serving_rights import open_rights, tls_options
from cli.wiring.workspace import Workspace
from serving.rights.keys import read_key
from tests.servers.certificates import Authority
from tests.servers.fetch import ServerMissing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]):
    def command(*arguments: str, code: int = 0) -> str:
        assert main(["--folder", str(folder), *arguments]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    return command


def made(run, *more: str) -> tuple[str, str]:
    """Make a key; returns it and its id."""
    found = json.loads(run("keys", "add", "--name", "portal", "--json", *more))
    return found["key"], found["id"]


def test_a_key_is_shown_once_and_listed_without_its_secret(run, folder: Path) -> None:
    said = run("keys", "add", "--name", "claim-portal", "--role", "service")
    key = read_key(said.splitlines()[0])
    assert key is not None
    assert "only time" in said
    listed = run("keys", "list")
    assert key.key_id in listed
    assert "claim-portal" in listed
    (found,) = json.loads(run("keys", "list", "--json"))
    assert (found["role"], found["state"], found["last_used_ms"]) == ("service", "valid", 0)
    assert found["expires_ms"] - found["made_ms"] == 365 * 86_400_000
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    for text in (listed, json.dumps(found), run("audit", "show", "--json"), kept.decode("latin-1")):
        assert key.secret not in text


def test_the_files_are_private(run, folder: Path) -> None:
    made(run, "--role", "reader")
    for name in ("keys.db", "audit.db"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_key_may_have_single_rights_a_rate_and_no_end(run) -> None:
    made(run, "--scope", "score", "--scope", "models", "--days", "0", "--rate", "2.5",
         "--burst", "3")  # fmt: skip
    (found,) = json.loads(run("keys", "list", "--json"))
    assert (found["scopes"], found["role"], found["expires_ms"]) == (["models", "score"], "", 0)
    assert (found["rate_per_s"], found["burst"]) == (2.5, 3)


def test_a_key_is_revoked_by_its_id_or_by_itself(run) -> None:
    (one, one_id), (two, _) = made(run, "--role", "reader"), made(run, "--role", "reader")
    assert "is revoked" in run("keys", "revoke", one_id)
    said = run("keys", "revoke", two)
    assert "is revoked" in said
    assert two not in said
    assert {each["state"] for each in json.loads(run("keys", "list", "--json"))} == {"revoked"}
    run("keys", "revoke", one_id)
    kinds = [json.loads(line)["kind"] for line in run("audit", "show", "--json").splitlines()]
    assert kinds == ["key.added", "key.added", "key.revoked", "key.revoked"]
    assert one not in run("audit", "show", "--json")


def test_a_key_is_recorded_before_it_is_made(run, folder: Path) -> None:
    """Without its record there is no key."""
    made(run, "--role", "reader")
    database = sqlite3.connect(folder / "audit.db")
    database.execute("PRAGMA application_id = 7")
    database.commit()
    database.close()
    said = run("keys", "add", "--name", "b", "--role", "reader", code=70)
    assert "audit.db" in "".join(said.split())
    assert len(json.loads(run("keys", "list", "--json"))) == 1


def test_the_audit_is_shown_by_what_one_looks_for(run) -> None:
    _, one = made(run, "--role", "reader")
    _, two = made(run, "--role", "scorer")
    found = run("audit", "show", "--subject", f"key:{two}", "--json").splitlines()
    assert [json.loads(line)["body"]["role"] for line in found] == ["scorer"]
    assert one in run("audit", "show", "--kind", "key")
    assert "no such event" in run("audit", "show", "--kind", "personal")
    assert "no such event" in run("audit", "show", "--since", "2999-01-01")
    assert "no such event" in run("audit", "show", "--claim", "C-1")
    assert len(run("audit", "show", "--last", "1", "--json").splitlines()) == 1
    actor = json.loads(found[0])["actor"]["id"]
    assert actor.startswith("os:")
    assert len(run("audit", "show", "--actor", actor, "--json").splitlines()) == 2


def test_the_audit_proves_itself_and_finds_what_is_missing(run, folder: Path) -> None:
    for _ in range(3):
        made(run, "--role", "reader")
    seal = run("audit", "verify").splitlines()[-1]
    before = {name: (folder / name).read_bytes() for name in ("audit.db",)}
    made(run, "--role", "reader")
    assert "all chains hold" in run("audit", "verify", "--against", seal)
    longer = run("audit", "verify").splitlines()[-1]
    for left in folder.glob("audit.db*"):
        left.unlink()
    (folder / "audit.db").write_bytes(before["audit.db"])
    assert "all chains hold" in run("audit", "verify")
    told = json.loads(run("audit", "verify", "--against", longer, "--json", code=1))
    assert "3 events of 4" in told["problems"][0]


def test_without_an_audit_there_is_nothing_to_show(run, folder: Path) -> None:
    assert "no such event" in run("audit", "show")
    assert "0 events" in run("audit", "verify")
    assert "no key yet" in run("keys", "list")
    assert not folder.exists()


def test_keys_and_audit_are_in_a_backup(run, folder: Path, tmp_path: Path) -> None:
    made(run, "--role", "reader")
    seal = run("audit", "verify").splitlines()[-1]
    run("backup", str(tmp_path / "copy"))
    listed = run("keys", "list", "--json")
    restored = str(tmp_path / "restored")
    run("--folder", restored, "restore", str(tmp_path / "copy"))
    assert run("--folder", restored, "keys", "list", "--json") == listed
    assert "all chains hold" in run("--folder", restored, "audit", "verify", "--against", seal)


def doctored(run, code: int = 1) -> dict[str, str]:
    found = {each["check"]: each for each in json.loads(run("doctor", "--json", code=code))}
    told: dict[str, str] = found["who may call"]
    return told


def test_doctor_names_each_weak_setting_with_its_fix(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "without a key" in doctored(run, 0)["found"]
    monkeypatch.setenv("CLAIMTRACE_SERVE__LISTEN", "0.0.0.0:8470")
    told = doctored(run)
    assert "nothing encrypts the way" in told["found"]
    assert "serve.tls_certificate_file" in told["hint"]
    monkeypatch.setenv("CLAIMTRACE_SERVE__BEHIND_PROXY", "true")
    told = doctored(run)
    assert "nobody could call it" in told["found"]
    assert "claimtrace keys add" in told["hint"]
    made(run, "--role", "reader", "--days", "0")
    told = doctored(run)
    assert "1 keys never expire" in told["found"]
    assert "isn't encrypted" in told["found"]
    monkeypatch.setenv("CLAIMTRACE_SERVE__LISTEN", "127.0.0.1:8470")
    (key,) = json.loads(run("keys", "list", "--json"))
    run("keys", "revoke", key["id"])
    made(run, "--role", "reader")
    told = doctored(run, 0)
    assert told["ok"]
    assert "1 API keys" in told["found"]


def workspace(folder: Path, **serve: object) -> Workspace:
    changed = msgspec.structs.replace(ServeSettings(), **serve)
    return Workspace(Settings(folder=str(folder), serve=changed))


def test_doctor_names_a_key_file_that_others_can_read(folder: Path, tmp_path: Path) -> None:
    try:
        certificate, key = Authority(tmp_path / "ca").sign("localhost")
    except ServerMissing as missing:
        pytest.skip(str(missing))
    files = {"tls_certificate_file": str(certificate), "tls_key_file": str(key)}
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="read by other users"):
        check_serving(workspace(folder, **files))
    assert set(tls_options(workspace(folder, **files))) == {"ssl_certfile", "ssl_keyfile"}
    with pytest.raises(ConfigError, match="can't be read"):
        tls_options(workspace(folder, **{**files, "tls_key_file": "none"}))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "claims.example"])
def test_a_server_off_loopback_does_not_start_without_protection(folder: Path, host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_rights(workspace(folder), host, lambda _: None)
    assert "behind_proxy" in refused.value.hint
    assert not folder.exists()


def test_a_start_on_loopback_says_that_it_is_open_and_records_it(run, folder: Path) -> None:
    opened = open_rights(workspace(folder), "127.0.0.1", lambda _: None)
    opened.close()
    assert opened.line.startswith("open: every program on this machine")
    (event,) = (json.loads(line) for line in run("audit", "show", "--json").splitlines())
    assert (event["kind"], event["body"]["open"]) == ("serve.started", True)
    made(run, "--role", "reader")
    again = open_rights(workspace(folder), "127.0.0.1", lambda _: None)
    again.close()
    assert again.line == "callers need a credential: 1 API keys"


@pytest.mark.parametrize(("name", "value", "words"), [
    ("JWT_ISSUER", "https://i.example", "tokens need serve.jwt_audience too"),
    ("JWT_ALGORITHMS", "RS256, none", "none isn't offered"),
    ("JWT_ALGORITHMS", "HS256", "HS256 isn't offered"),
    ("JWT_ALGORITHMS", ", ", "none isn't offered"),
    ("KEYS", "a b", "serve.keys = a b"),
    ("RATE_PER_S", "0", "serve.rate_per_s"),
])  # fmt: skip
def test_settings_that_would_be_weak_are_refused(name: str, value: str, words: str) -> None:
    variable = f"CLAIMTRACE_SERVE__{name}"
    with pytest.raises(ConfigError, match=words) as refused:
        load_settings(None, {variable: value})
    assert "CLAIMTRACE_SERVE__" in refused.value.where


def test_no_secret_is_in_any_output_of_a_command(run, folder: Path) -> None:
    """Every output after the key was shown, and every file of the folder."""
    shown = [made(run, "--role", role)[0] for role in ("service", "reader")]
    outputs = [
        run("keys", "list"), run("keys", "list", "--json"), run("audit", "show"),
        run("audit", "show", "--json"), run("audit", "verify"), run("doctor"),
        run("keys", "revoke", shown[0]), run("keys", "revoke", shown[1] + "x", code=2),
        run("keys", "--help"), run("audit", "--help"),
    ]  # fmt: skip
    files = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    files += [p.read_text() for p in Path.cwd().glob("*.log")]
    assert not re.search(r"ct_[0-9a-f]{12}_[a-z2-7]{52}", "".join(outputs))
    for key in shown:
        assert key.rpartition("_")[2] not in "".join(outputs + files)
    assert os.environ.get("CLAIMTRACE_KEY") is None
