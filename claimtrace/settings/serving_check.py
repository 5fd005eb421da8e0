"""The check of the section `[serve]`: what of it belongs together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ..errors import ConfigError
from .origins import Origins
from .serving_rights import JWT_ALGORITHMS, RightsSettings

_TABLE: Final = re.compile(r"file:.+|[A-Za-z0-9_.-]{3,255}")
_JWT: Final = ("jwt_issuer", "jwt_audience", "jwt_keys_file")


def algorithms_of(rights: RightsSettings) -> tuple[str, ...]:
    """Return the algorithms of tokens.

    >>> algorithms_of(RightsSettings())
    ('RS256', 'ES256')
    """
    return tuple(filter(None, (each.strip() for each in rights.jwt_algorithms.split(","))))


def check_rights(rights: RightsSettings, origins: Origins) -> None:
    """Refuse settings of tokens that are half set, unknown algorithms, and names of no table.

    Raises:
        ConfigError: names the setting and the fix.
    """
    missing = [name for name in _JWT if not getattr(rights, name)]
    if missing and len(missing) < len(_JWT):
        raise ConfigError(
            f"tokens need serve.{missing[0]} too", where=origins.of(f"serve.{missing[0]}"),
            hint="set serve.jwt_issuer, serve.jwt_audience and serve.jwt_keys_file, or none",
        )  # fmt: skip
    algorithms = algorithms_of(rights)
    for each in algorithms or ("",):
        if each not in JWT_ALGORITHMS:
            raise ConfigError(
                f"serve.jwt_algorithms: {each or 'none'} isn't offered",
                where=origins.of("serve.jwt_algorithms"),
                hint="one or more of " + ", ".join(JWT_ALGORITHMS),
            )
    if rights.keys and not _TABLE.fullmatch(rights.keys):
        raise ConfigError(f"serve.keys = {rights.keys} is not a valid name",
                          where=origins.of("serve.keys"),
                          hint="3 to 255 of a-z, A-Z, 0-9, _-. or file:PATH")  # fmt: skip


def rights_ranges(rights: RightsSettings) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, value and limits of the numbers."""
    yield "serve.rate_per_s", rights.rate_per_s, 0.01, 10**6
    yield "serve.rate_burst", rights.rate_burst, 1, 10**6
    yield "serve.max_upload_mib", rights.max_upload_mib, 1, 10**5
