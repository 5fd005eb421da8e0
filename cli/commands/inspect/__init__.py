"""Look at decisions and features, and prove them."""
