"""The search path of imports: the current folder comes last, so that it can't shadow a package.

`python -m claimtrace` puts the current folder first, where a user's `models.py` would be found in
place of ours; the console script leaves it out, so that a user's domain isn't found. Both search it
last.
"""

from __future__ import annotations

import os
import sys

from ...rooms import HOME


def search_current_folder_last() -> None:
    """Move the current folder to the end of the search path, or add it there.

    A checkout that is the current folder, and so the home of all rooms, keeps its place.
    """
    try:
        here = os.getcwd()
    except OSError:  # the folder was removed
        return
    if os.path.realpath(here) == str(HOME):
        return
    kept = [each for each in sys.path if each not in ("", here, str(HOME))]
    # the rooms of an editable install are found by a hook that Python asks after the whole path
    sys.path[:] = [*kept, str(HOME), here]
