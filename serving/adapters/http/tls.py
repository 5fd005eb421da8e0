"""The certificate of the server: its files are checked before anything listens."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from claimtrace.errors import ConfigError

CERTIFICATE = "serve.tls_certificate_file"
KEY = "serve.tls_key_file"


def check_tls_files(certificate: Path, key: Path) -> list[str]:
    """Load the certificate and its key once, as the server will.

    Returns:
        What is weak about them, in words: a key that others can read.

    Raises:
        ConfigError: a file can't be read, isn't PEM, or the two don't belong together.
    """
    for path, setting in ((certificate, CERTIFICATE), (key, KEY)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path} can't be read: {error.strerror}", where=setting,
                              hint="check the path and the rights") from error  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            "the certificate and the key can't be used together", where=f"{CERTIFICATE}, {KEY}",
            hint="both as PEM, the key without a password, and of this certificate",
        ) from error  # fmt: skip
    if key.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return [f"{key} can be read by other users of the machine"]
    return []


def _no_password() -> str:
    """Answer for a key with a password, for which OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")
