"""The data set of a training: served vectors joined with labels as known, and its splits."""
