"""Mirrors of the registry in MLflow and SageMaker: written one way, and never read back."""
