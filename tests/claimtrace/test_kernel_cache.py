"""Compiled kernels never outlive their sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from claimtrace.adapters.process import kernel_cache


def test_an_edit_of_any_kernel_file_names_another_folder(tmp_path):
    room = tmp_path / "featurestore"
    room.mkdir()
    (room / "a.py").write_text("from numba import njit\n")
    (room / "b.py").write_text("x = 1\n")
    first = kernel_cache._digest_of_kernels(tmp_path)
    (room / "b.py").write_text("x = 2\n")
    assert kernel_cache._digest_of_kernels(tmp_path) == first
    (room / "a.py").write_text("from numba import njit  # edited\n")
    assert kernel_cache._digest_of_kernels(tmp_path) != first


def test_only_the_last_versions_stay(tmp_path):
    for age, name in enumerate(["a", "b", "c", "d", "e"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    kernel_cache._remove_older(tmp_path, tmp_path / "e")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "d", "e"]


def test_the_folder_is_named_before_numba_is_imported():
    asked = (
        "import claimtrace, sys, os; print('numba' in sys.modules, os.environ['NUMBA_CACHE_DIR'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != kernel_cache.VARIABLE}
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment,
    )
    imported, folder = ran.stdout.split()
    assert imported == "False"
    assert Path(folder).is_dir()
