"""What puts bytes on a log: the claims simulator, the replay of tables, and sinks.

Reading order: `config`, `world`, `honest`, `scenarios`, `arrivals`, `simulator`; then `mapping` and
`replay`. Pure but for `adapters`: a simulation is a function of its config.
"""
