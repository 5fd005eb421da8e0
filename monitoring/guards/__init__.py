"""Guards of a canary: limits on tiles of its scores beside the champion's."""
