"""The data set of a training run: served vectors, labels as known at its time, and the splits."""
