"""When a drift becomes an alert, and the words of the alert."""
