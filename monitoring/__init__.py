"""Watching a model at work: statistics of what it saw, compared with what it was trained on."""

import claimtrace as _claimtrace  # noqa: F401 - names the folder for compiled kernels first
