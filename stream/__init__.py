"""Claims in, decisions out: engine, journal, driver, and the transports that drive it."""
