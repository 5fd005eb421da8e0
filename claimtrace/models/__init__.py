"""From a published artefact to scores: forest and contribution kernels, calibration, approvals.

Reading order: `artefact` (what is published), `scorer` (what is loaded), `forest`, `contributions`,
`calibration` (how it computes), `approvals` (who let it).
"""
