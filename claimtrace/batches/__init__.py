"""A batch on its way through the stream, as columns: records, accepted events, outgoing records."""
