"""Kafka for all rooms: client configuration, errors, topic administration, tokens for MSK."""
