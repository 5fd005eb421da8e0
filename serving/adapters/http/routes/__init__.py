"""The routes, one file a subject; each ends in `ROUTES`."""
