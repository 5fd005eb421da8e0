"""The evaluation of a model: ranking metrics, thresholds by capacity, bootstrap intervals."""
