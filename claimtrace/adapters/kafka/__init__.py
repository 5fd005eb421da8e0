"""Kafka for all rooms: client configuration, errors, topic administration, MSK tokens."""
