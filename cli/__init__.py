"""The program: command line and wiring; the only place where all rooms meet."""
