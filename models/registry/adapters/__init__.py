"""The model registry on a local folder, and the record of passed self-checks."""
