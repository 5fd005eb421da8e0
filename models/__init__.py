"""A published model: it scores and explains, bit for bit."""

import claimtrace as _claimtrace  # noqa: F401 - names the folder for compiled kernels first
