"""Where the room meets the outside: HTTP, threads, files of batches, keys, the log of the audit."""
