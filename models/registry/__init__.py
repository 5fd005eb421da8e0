"""The contract of model registries, and the append-only log of approvals."""
