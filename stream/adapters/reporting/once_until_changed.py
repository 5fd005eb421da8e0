"""Notifications of a trouble that lasts: one when it begins or changes, one when it is over."""

from __future__ import annotations

from collections.abc import Callable


class OnceUntilChanged:
    """Notifies of a trouble once, until another kind of trouble is reported or it is cleared.

    Args:
        notify: called with each line that a person should read.

    >>> trouble = OnceUntilChanged(print)
    >>> trouble.report("waits", "SNS doesn't answer")
    SNS doesn't answer
    >>> trouble.report("waits", "SNS still doesn't answer")
    >>> trouble.clear("SNS answers again")
    SNS answers again
    >>> trouble.clear("SNS answers again")
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._kind = ""

    def report(self, kind: str, text: str) -> None:
        """Notify with `text`, unless the last report was of the same kind."""
        if kind != self._kind:
            self._kind = kind
            self._notify(text)

    def clear(self, text: str) -> None:
        """Notify with `text` that the trouble is over, if there was one."""
        if self._kind:
            self._kind = ""
            self._notify(text)
