"""The offline store: the schemas of its tables, and queries over them."""
