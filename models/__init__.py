"""A published model: it scores and explains, bit for bit."""
