"""The command line, one file a command: the only place where all rooms meet.

This folder and `claimtrace.__main__` are the composition root: they alone in `claimtrace` import
the other rooms, and do so when a command runs, so that `claimtrace --help` answers at once.
"""
