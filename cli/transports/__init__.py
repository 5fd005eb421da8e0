"""One file a log: it opens its source, journal, output and group; `base` is their contract."""
