"""Pictures of results: quick looks, where time and failures go, catalogues, coverage.

Each is made from data that are there already, in whatever style matplotlib is set to,
light or dark, and gives a figure that belongs to the caller alone.
"""
