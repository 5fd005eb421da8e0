"""The claims simulator: a world of policies, honest claims, fraud scenarios and labels."""
