"""The wiring of looks: the models that may be asked, followers, and batches."""
