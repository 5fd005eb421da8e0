"""The process itself: its clock, its compiled kernels, its metrics endpoint."""
