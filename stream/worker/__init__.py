"""The worker: driver, ownership, snapshots, offline writer, observer."""
