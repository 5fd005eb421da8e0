"""Example domains to copy; each is a Python module that ends in `DOMAIN = Domain(...)`."""
