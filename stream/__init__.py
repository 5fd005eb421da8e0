"""Claims in, decisions out."""
