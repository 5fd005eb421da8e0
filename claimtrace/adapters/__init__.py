"""Where `claimtrace` touches the world: disk, clock, the embedded log, the registry's folder."""
