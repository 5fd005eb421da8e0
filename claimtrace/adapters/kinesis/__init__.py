"""Kinesis for all rooms: streams, aggregated records, headers, read limits, enhanced fan-out."""
