"""From events to features: definitions, windows, feature groups, and the stores that hold them."""
