"""Put events on a log; `simulation_options` are those of simulate and producers."""
