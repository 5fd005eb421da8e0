"""The folder for notebooks: tables as pandas, one decision explained, a claim looked at.

`claimtrace.open` is the way in; it imports this only when it is called.
"""

from .opening import open_project
from .project import Project

__all__ = ["Project", "open_project"]
