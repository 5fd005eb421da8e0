"""The release of a model: the gate that compares it with the champion, and the publication."""
