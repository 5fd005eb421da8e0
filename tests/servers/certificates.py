"""A certificate authority for tests, and certificates for a right and a wrong host name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.servers.fetch import ServerMissing

DAYS: Final = "2"
KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority; all its files are in one folder, in PEM.

    Args:
        folder: created if missing.

    Raises:
        ServerMissing: `openssl` isn't installed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "authority.pem"
        self._key = folder / "authority.key"
        _openssl("req", "-x509", *KEY, "-days", DAYS, "-subj", "/CN=authority of the tests",
                 "-keyout", str(self._key), "-out", str(self.certificate))  # fmt: skip

    def sign(self, name: str, alternative_names: str = "") -> tuple[Path, Path]:
        """Make a key and its certificate.

        Args:
            name: the subject's common name, and the name of the files.
            alternative_names: the names that a client compares with the host it called, such as
                `DNS:localhost,IP:127.0.0.1`.

        Returns:
            The files of the certificate and of the key (PKCS 8, no password).
        """
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extra.write_text(f"subjectAltName={alternative_names}\n" if alternative_names else "")
        _openssl("req", "-new", *KEY, "-subj", f"/CN={name}",
                 "-keyout", str(key), "-out", str(request))  # fmt: skip
        _openssl("x509", "-req", "-in", str(request), "-days", DAYS, "-extfile", str(extra),
                 "-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial",
                 "-out", str(certificate))  # fmt: skip
        return certificate, key

    def key_store(self, name: str, alternative_names: str = "") -> Path:
        """Make one file of key and certificate, as Kafka's `ssl.keystore.type=PEM` reads it."""
        certificate, key = self.sign(name, alternative_names)
        both = self.folder / f"{name}.keystore.pem"
        both.write_text(key.read_text() + certificate.read_text())
        return both


def _openssl(*arguments: str) -> None:
    path = shutil.which("openssl")
    if path is None:
        raise ServerMissing("there is no openssl", where="PATH", hint="install openssl")
    done = subprocess.run([path, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
