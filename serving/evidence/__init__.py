"""Evidence for a decision: the rows that each feature counted, and the proof of them."""
