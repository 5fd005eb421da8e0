"""Rights of callers: keys, tokens, rate limits, limits of requests, and where it may listen."""
