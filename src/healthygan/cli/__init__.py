"""The command line: verbs, exit codes, and how a result looks in a terminal.

The only place that knows flags; everything below can be called from Python. ``main`` runs a verb, ``verbs`` holds one
file for each with its options, ``options`` what several of them share, ``phrasing`` puts flags into messages.
"""
