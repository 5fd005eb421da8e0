"""Public data sets with published results: the training beside the published recipes."""
