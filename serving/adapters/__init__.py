"""Where the room meets the outside: HTTP, tables of keys, the log of the audit."""
