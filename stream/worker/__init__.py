"""The worker: driver, retry with back-off, ownership, snapshots, offline writer, observer."""
