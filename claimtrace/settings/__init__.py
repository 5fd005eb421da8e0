"""The settings: their sections and defaults, and how they are loaded."""
