"""Memory that the process keeps while it works and gives back afterwards."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from healthygan.common import memory
from healthygan.common.memory import memory_kept

# In a process of its own: what other tests left in the heap would be counted too.
CHILD = """
import resource
from pathlib import Path
import numpy as np
from healthygan.common.memory import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(200 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

plain, before = faults(), resident()
try:
    with memory_kept():
        faults()
        again, kept = faults(), resident()
        raise ValueError
except ValueError:
    print(plain, again, faults(), kept - before, resident() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists() or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="glibc and Linux's /proc alone",
)
def test_freed_memory_stays_inside_and_goes_back_at_the_end_even_by_an_error():
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    plain, again, afterwards, kept, left = map(float, done.stdout.split())
    assert again < plain / 10, "pages fetched for memory that was there"
    assert kept > 190
    assert left < 20
    assert afterwards > plain / 2


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    with memory_kept():
        assert np.ones(3).sum() == 3
