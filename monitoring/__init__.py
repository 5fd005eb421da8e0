"""Monitoring of a model in production: statistics of live claims, compared with its training."""

import claimtrace as _claimtrace  # noqa: F401 - sets the kernel cache folder before numba compiles
