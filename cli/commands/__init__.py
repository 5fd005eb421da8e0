"""The commands, one file each, in folders by what people do."""
