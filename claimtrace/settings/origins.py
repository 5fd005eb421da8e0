"""Where a setting came from: an option, a variable of the environment, or the settings file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENV_PREFIX = "CLAIMTRACE_"


def variable_of(path: str) -> str:
    """Return the variable that sets a setting.

    >>> variable_of("stream.batch_records")
    'CLAIMTRACE_STREAM__BATCH_RECORDS'
    """
    return ENV_PREFIX + path.upper().replace(".", "__")


@dataclass(frozen=True)
class Origins:
    """The origins of the settings of one run, for the `where` of an error.

    Args:
        file: the settings file; empty when there is none.
        environment: the variables.
        options: options of the command line, by the setting that they replace.
    """

    file: str
    environment: Mapping[str, str]
    options: Mapping[str, str]

    def of(self, path: str) -> str:
        """Return the option, variable or file that a setting comes from.

        A default that doesn't fit another setting of its section is that setting's fault.

        >>> Origins("a.toml", {"CLAIMTRACE_KAFKA__OUTPUT": "twice"}, {}).of("kafka.output")
        'variable CLAIMTRACE_KAFKA__OUTPUT'
        >>> Origins("a.toml", {}, {"source": "--source"}).of("source")
        '--source'
        >>> Origins("a.toml", {}, {}).of("kafka.output")
        'a.toml'
        """
        if path in self.options:
            return self.options[path]
        own = variable_of(path)
        if own in self._names:
            return f"variable {own}"
        section = variable_of(path.partition(".")[0]) + "__"
        beside = sorted(name for name in self._names if name.startswith(section))
        if beside and not self.file:
            return "variable " + ", ".join(beside)
        return self.file

    @property
    def _names(self) -> set[str]:
        return {name.upper() for name in self.environment if name.startswith(ENV_PREFIX)}
