"""Tree margins and SHAP contributions compiled with numba, and the reader of XGBoost's JSON."""
