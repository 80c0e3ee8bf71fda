"""Batch systems, one small module and one template each: text for them, and their answers."""
