"""Where the stream meets the outside: one folder a log; snapshots, reports, the process itself."""
