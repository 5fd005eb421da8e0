"""The content and the bytes of a decision: outcomes, reasons, the seal; and dead letters."""
