"""Evidence in words and as a packet for a file: what speaks for and against fraud, and HTML."""
