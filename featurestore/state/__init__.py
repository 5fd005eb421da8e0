"""State between batches: known events, entities, profiles and windows; batches become vectors."""
