"""Reports of a worker: Prometheus metrics, metrics in CloudWatch, alerts to SNS."""
