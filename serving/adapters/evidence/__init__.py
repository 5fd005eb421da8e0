"""Evidence: its sources in the log and the stores, and the thread that answers the routes."""
