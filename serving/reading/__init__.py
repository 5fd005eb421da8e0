"""Reading for people: decisions found by filters, dead letters, and the figures of workers."""
