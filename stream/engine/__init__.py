"""The engine: a batch changes the state and is decided on; drift is counted on the way."""
