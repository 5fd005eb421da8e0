"""Kafka for all rooms: client settings (login, reconnect back-off), errors, topics, MSK tokens."""
