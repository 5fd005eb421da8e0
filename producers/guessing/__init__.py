"""A first domain and mapping for somebody's own table: types and roles guessed from a sample."""
