"""The embedded log: durable, partitioned topics in one SQLite file."""
