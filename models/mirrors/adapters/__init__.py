"""The mirrors' clients: MLflow over HTTP, SageMaker's model packages over boto3."""
