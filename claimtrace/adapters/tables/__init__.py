"""Small shared tables with conditional writes, in DynamoDB or SQLite."""
