"""Download real servers once, with Maven, npm or pip, into a cache outside of the work tree.

A folder is named for the digest of its pinned versions, so another version never uses old files.
Two processes may ask at once: one downloads under a file lock, the other waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from claimtrace.errors import UsageError

POM: Final = Path(__file__).with_name("pom.xml")
JAVA_AT_LEAST: Final = 17
FETCH_TIMEOUT_S: Final = 600


class ServerMissing(UsageError):
    """A program that a real server needs isn't installed; tests skip with a reason, CI fails."""


def cache_folder() -> Path:
    """Return the folder of downloads: `$XDG_CACHE_HOME/claimtrace`, or `~/.cache/claimtrace`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "claimtrace"


def java() -> str:
    """Return the path of a Java that Kafka 4 can run on.

    Raises:
        ServerMissing: Java isn't installed, or is older than 17.
    """
    path = shutil.which("java")
    if path is None:
        raise ServerMissing("there is no java", where="PATH", hint="install a Java 17 runtime")
    printed = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    version = java_version(printed)
    if version < JAVA_AT_LEAST:
        raise ServerMissing(f"Kafka 4 needs Java {JAVA_AT_LEAST}, this is {version}", where=path)
    return path


def java_version(printed: str) -> int:
    """Return the major version in the output of `java -version`; 0 when there is none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15'), java_version('java version "1.8.0"')
    (17, 8)
    """
    found = re.search(r'version "(?:1\.)?(\d+)', printed)
    return int(found[1]) if found else 0


def kafka_jars() -> Path:
    """Return the folder with Kafka's jars; downloaded if missing (about 10 s, 43 MB).

    Raises:
        ServerMissing: Maven isn't installed, or the download failed.
    """
    return _jars("kafka", POM)


def dynamodb_jars() -> Path:
    """Return the folder with DynamoDB's jars; downloaded if missing (half a minute, 51 MB).

    Raises:
        ServerMissing: Maven isn't installed, or the download failed.
    """
    return _jars("dynamodb", POM.with_name("dynamodb.xml"))


def ministack_packages() -> Path:
    """Return the folder with ministack and its dependencies; downloaded if missing (90 MB).

    They are apart from the product's environment: ministack needs another version of botocore.

    Raises:
        ServerMissing: the download failed.
    """
    return _packages("ministack")


def mlflow_packages() -> Path:
    """Return the folder with MLflow and its dependencies; downloaded if missing.

    They are apart from the product's environment, which needs no client of MLflow.

    Raises:
        ServerMissing: the download failed.
    """
    return _packages("mlflow")


def _packages(name: str) -> Path:
    pins = POM.with_name(f"{name}.txt")

    def bring(aside: Path) -> Path:
        packages = aside / "packages"
        run_fetch(name, [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--no-deps", "--target", str(packages), "-r", str(pins),
        ])  # fmt: skip
        return packages

    return fetched_once(name, pins.read_bytes(), bring)


def fetched_once(name: str, definition: bytes, bring: Callable[[Path], Path]) -> Path:
    """Return a folder of the cache, named for the digest of its definition.

    Args:
        bring: called when the folder is missing, with a temporary folder; returns the folder inside
            it that becomes the cached one.
    """
    digest = hashlib.sha256(definition).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as aside:
                bring(Path(aside)).rename(folder)
    return folder


def run_fetch(what: str, command: Sequence[str]) -> None:
    """Run a download command.

    Raises:
        ServerMissing: the command failed, or took too long.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ServerMissing(f"{what} did not come in {FETCH_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip()[-600:]
        raise ServerMissing(f"{what} could not be fetched: {last}")


def _jars(name: str, pom: Path) -> Path:
    def bring(aside: Path) -> Path:
        maven = shutil.which("mvn")
        if maven is None:
            raise ServerMissing("there is no mvn to fetch servers with", where="PATH",
                                hint="install Maven")  # fmt: skip
        libs = aside / "libs"
        run_fetch(name, [
            maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={libs}",
        ])  # fmt: skip
        return libs

    return fetched_once(name, pom.read_bytes(), bring)
