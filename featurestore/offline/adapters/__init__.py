"""Adapters of the offline store: Delta Lake tables of Parquet files, in a folder or on S3."""
