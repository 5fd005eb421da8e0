"""Several workers on one journal: groups, checkpoints, leases, the lineage of shards."""
