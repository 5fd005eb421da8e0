"""The lineage of models: a graph of what made them and where they were in charge, and exports."""
