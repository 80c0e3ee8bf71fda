"""Crops in a browser: a small server on this machine, and one page without a build step."""
