"""The report of a version as one HTML page: self-contained, printable, everything escaped."""
