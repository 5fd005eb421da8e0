"""The claims simulator: policies, honest claims, fraud scenarios and labels, drawn from a seed."""
