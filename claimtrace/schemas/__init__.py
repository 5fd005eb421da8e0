"""Schemas of events: Avro and JSON Schema, the Confluent frame, the registry."""
