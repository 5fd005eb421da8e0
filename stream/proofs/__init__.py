"""Proofs: replay and back-fill, compared with the served decisions and vectors."""
