"""The kernel cache: an edit of any kernel source leads to another folder."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

from claimtrace.adapters.process import kernel_cache
from claimtrace.rooms import HOME


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


def compiled_files() -> list[Path]:
    """Return every file in which a function is decorated with numba's `njit` or our `kernel`."""
    found = []
    for package in kernel_cache._PACKAGES:
        for path in sorted((HOME / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            names = {
                getattr(getattr(each, "func", each), "id", "")
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef)
                for each in node.decorator_list
            }
            if names & {"kernel", "njit", "jit", "vectorize", "intrinsic"}:
                found.append(path)
    return found


def test_an_edit_of_each_file_with_a_compiled_function_names_another_folder(tmp_path):
    for package in kernel_cache._PACKAGES:
        shutil.copytree(HOME / package, tmp_path / package)
    before = kernel_cache._digest_of_kernels(tmp_path)
    files = [*compiled_files(), HOME / "claimtrace" / "limits.py", HOME / "claimtrace" / "clock.py"]
    assert len(files) > 15
    for path in files:
        copy = tmp_path / path.relative_to(HOME)
        source = copy.read_bytes()
        copy.write_bytes(source + b"\n# edited\n")
        assert kernel_cache._digest_of_kernels(tmp_path) != before, path
        copy.write_bytes(source)
    assert kernel_cache._digest_of_kernels(tmp_path) == before


def test_a_constant_that_a_kernel_reads_from_another_file_is_part_of_it(tmp_path):
    room = tmp_path / "featurestore" / "windows"
    room.mkdir(parents=True)
    (room / "kernels.py").write_text("from numba import njit\nfrom ..limits import MOST\n")
    (tmp_path / "featurestore" / "limits.py").write_text("MOST = 1\n")
    first = kernel_cache._digest_of_kernels(tmp_path)
    (tmp_path / "featurestore" / "limits.py").write_text("MOST = 2\n")
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
    ran = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=HOME,
        env=environment,
    )
    imported, folder = ran.stdout.split()
    assert imported == "False"
    assert Path(folder).is_dir()
