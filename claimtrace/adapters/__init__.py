"""Code of the ground room that does IO: disk, clock, embedded log, Kafka, Kinesis, AWS, tables."""
