"""Files: atomic replacement, the lock of a folder, SQLite files."""
