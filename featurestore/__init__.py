"""From events to features: definitions, windows, feature groups, and the stores that hold them."""

import claimtrace as _claimtrace  # noqa: F401 - names the folder for compiled kernels first
