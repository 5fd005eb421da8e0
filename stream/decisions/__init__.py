"""What stands on a decision, and its bytes: outcomes, reasons, the seal, dead letters."""
