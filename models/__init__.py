"""Published models: loading, margins, calibrated probabilities, SHAP; reproducible bit for bit."""

import claimtrace as _claimtrace  # noqa: F401 - sets the kernel cache folder before numba compiles
