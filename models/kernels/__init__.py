"""Trees, SHAP contributions and the reader of XGBoost's JSON, compiled with numba."""
