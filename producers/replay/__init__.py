"""Tables of claims as events: a mapping names topic, key, time and fields."""
