"""One batch of claims in, decisions out: engine, journal, driver, and the transports that drive it."""
