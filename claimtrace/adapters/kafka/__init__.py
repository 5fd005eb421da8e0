"""Kafka for all rooms: client settings with login and back-off, errors, topics, MSK tokens."""
