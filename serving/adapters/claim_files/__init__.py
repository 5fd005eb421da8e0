"""Files of claims and of their answers: NDJSON, CSV and Parquet, each also compressed by gzip."""
