"""A model is checked again whenever anything that the check hangs on has changed."""

from __future__ import annotations

from models.registry.adapters import self_checks as check_notes
from models.registry.adapters.self_checks import CheckNotes


def test_a_note_is_for_one_model_and_what_is_installed_now(tmp_path, monkeypatch):
    notes = CheckNotes(tmp_path / "checked")
    notes.add("d1")
    assert notes.has("d1")
    assert not notes.has("d2")
    now = check_notes._surroundings()
    for i in range(len(now)):
        other = (*now[:i], now[i] + "x", *now[i + 1 :])
        monkeypatch.setattr(check_notes, "_surroundings", lambda other=other: other)
        assert not notes.has("d1")


def test_nothing_is_made_where_no_stream_has_run(tmp_path):
    notes = CheckNotes(tmp_path / "state" / "checked")
    notes.add("d1")
    assert not notes.has("d1")
    assert list(tmp_path.iterdir()) == []
