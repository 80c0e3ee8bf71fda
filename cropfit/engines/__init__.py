"""Where it happens: pools and clusters that exist already."""
