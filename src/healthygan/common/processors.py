"""How many processors there are for this process."""

import joblib


def usable_cores() -> int:
    """Logical processors that the process may use, 1 or more: within its affinity and its container's quota."""
    return int(joblib.cpu_count())
