"""From a fitted model to a published, approved version: the gate and the publication."""
