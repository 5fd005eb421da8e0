"""Where the evidence comes from: the file of the index, and records of the offline store."""
