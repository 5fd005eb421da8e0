"""The stream as a Faust agent."""
