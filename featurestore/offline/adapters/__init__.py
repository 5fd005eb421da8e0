"""Delta Lake and Parquet on a folder or S3."""
