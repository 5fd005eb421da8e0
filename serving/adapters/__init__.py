"""Where the room meets the outside: HTTP, threads, files of claims, keys, the log of the audit."""
