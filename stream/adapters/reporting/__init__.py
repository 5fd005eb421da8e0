"""What a worker reports: Prometheus metrics, CloudWatch, SNS."""
