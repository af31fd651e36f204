"""The two kinds of fault a user can mend; the command line prints them as one line and exits with 2."""


class InputError(Exception):
    """Something the user gave cannot be used. The message names it and says what to do, in one line."""


class UnreadableImage(InputError):
    """One image file cannot be used: skipped and counted among many, fatal under ``strict``."""
