"""`python -m claimtrace`: the command line, which is in `cli`."""

import sys

from .adapters.process.search_path import search_current_folder_last

search_current_folder_last()  # before `cli` is looked for

from cli.entry import main  # noqa: E402

sys.exit(main())
