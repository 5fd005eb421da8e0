"""Kafka as source, journal, output and group."""
