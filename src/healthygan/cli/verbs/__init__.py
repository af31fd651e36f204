"""One file a verb: ``SUMMARY`` for its help, ``add_options``, and ``run``, which calls one function of the library.

What a verb needs of the library is imported when it runs: a wrong option or ``--help`` need not wait for torch.
"""
