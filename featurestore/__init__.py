"""Features from events: definitions, exact windows, feature groups and the offline store."""

import claimtrace as _claimtrace  # noqa: F401 - sets the kernels' cache folder before numba loads
