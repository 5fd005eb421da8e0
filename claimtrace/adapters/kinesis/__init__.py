"""Kinesis for all rooms: streams, aggregated records, headers, read limits, fan-out."""
