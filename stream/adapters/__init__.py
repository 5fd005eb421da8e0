"""Where the stream meets the disk: journal, snapshots, the embedded log."""
