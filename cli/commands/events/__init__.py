"""Put events on a log: simulate, replay, produce, create topics."""
