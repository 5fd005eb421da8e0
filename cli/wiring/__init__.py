"""The wiring: workspace, assembly of engine and driver, champion, observers."""
