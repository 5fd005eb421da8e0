"""Byte strings in one buffer, and the compiled kernels that hash and copy them."""
