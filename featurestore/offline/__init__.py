"""The offline store: its tables and the as-of joins over them."""
