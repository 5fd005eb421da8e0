"""The settings: sections and defaults (`schema`), and loading them (`loading`)."""
