"""The audit: who was refused, who looked at whom, and which keys were made, in chained events."""
