"""Schemas of events: Avro and JSON Schema, the Confluent wire format, the schema registry."""
