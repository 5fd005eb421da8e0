"""`python -m claimtrace`: the command line, which is in `cli`."""

import sys

from cli.entry import main

sys.exit(main())
