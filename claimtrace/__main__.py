"""`python -m claimtrace`: the command line, which is in `cli`."""

import sys

from cli.__main__ import main

sys.exit(main())
