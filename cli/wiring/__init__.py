"""Workspace, assembly of engine and driver, champion, observers."""
