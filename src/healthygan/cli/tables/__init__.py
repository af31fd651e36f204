"""Results as tables in a terminal.

One file a verb's result; drawn with rich, which nothing below the command line knows.
"""
