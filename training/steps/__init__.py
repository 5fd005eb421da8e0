"""The steps of a training run, by what they are about; `training.pipeline` has their order."""
