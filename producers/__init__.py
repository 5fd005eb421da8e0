"""Sources of events: the claims simulator and the replay of tables, and sinks that write to a log.

Reading order: in `simulation` `config`, `world`, `honest_claims`, `scenarios`, `arrivals`,
`simulator`; in `replay` `mapping` and `replay`; then `sending`. Pure but for `adapters`: a
simulation is a function of its config.
"""
