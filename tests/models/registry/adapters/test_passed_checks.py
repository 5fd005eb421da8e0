"""Passed self-checks: one for each model, and void as soon as the environment changes."""

from __future__ import annotations

from models.registry.adapters import passed_checks
from models.registry.adapters.passed_checks import PassedChecks


def test_a_note_is_for_one_model_and_what_is_installed_now(tmp_path, monkeypatch):
    passed = PassedChecks(tmp_path / "checked")
    passed.add("d1")
    assert passed.has("d1")
    assert not passed.has("d2")
    now = passed_checks._environment()
    for i in range(len(now)):
        other = (*now[:i], now[i] + "x", *now[i + 1 :])
        monkeypatch.setattr(passed_checks, "_environment", lambda other=other: other)
        assert not passed.has("d1")


def test_nothing_is_made_where_no_stream_has_run(tmp_path):
    passed = PassedChecks(tmp_path / "state" / "checked")
    passed.add("d1")
    assert not passed.has("d1")
    assert list(tmp_path.iterdir()) == []
