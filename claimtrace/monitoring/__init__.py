"""Watching a model at work: tiles of counts, their distance to training, verdicts and alerts.

`reference` (made with the model) -> `tiles` (live rows, by event-time window) -> `distances` ->
`verdict` (one drift record a window) -> `alerts` (after m of n drifted windows).
"""
