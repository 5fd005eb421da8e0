"""Evidence for a decision: the rows that each feature counted, and the proof that they are those."""
