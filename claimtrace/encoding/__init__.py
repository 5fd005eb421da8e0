"""Bytes to events and back: the guard, the decoder, and the column decoder."""
