"""Input files, and sinks on Kafka, Kinesis and the embedded log."""
