"""Pictures: charts, overlays and rows of images.

Arrays in, pictures out; nothing is computed here that a table would show.
"""
