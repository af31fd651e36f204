"""The command line: verbs, exit codes, and how a result looks in a terminal.

The only place that knows flags; everything below can be called from Python.
"""
