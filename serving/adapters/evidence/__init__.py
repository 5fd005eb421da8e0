"""Evidence for the routes: small replays by a thread of their own, beside the worker."""
