"""Memory of large tensors on a CPU."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of mallopt's parameters, from glibc's malloc.h."""
USUAL_MMAP_MAX = 65536
USUAL_TRIM_THRESHOLD = 64 * 2**20
"""Where glibc's own adjustment ends in a program that frees large blocks."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Freed memory stays with the process, so that the next tensor finds it there; given back at the end.

    By itself glibc hands large blocks back at once, and the system fills each new one with zeros, page by page: a
    fifth of a training step on a CPU. Other C libraries are left alone.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        library.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)
        library.malloc_trim(0)
