"""Several workers on one journal: groups, checkpoints, leases, families of shards."""
