"""A run's results put on a page: the reader's desk, on which a ranked pile is read.

``server.serve`` starts it; it needs the extra ``healthygan[review]``, and no model: scores, maps and the images' own
files are enough.
"""
