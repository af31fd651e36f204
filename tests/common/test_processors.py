"""Only the processors that this process may use are counted."""

import os

import pytest

from healthygan.common.processors import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to processors")
def test_processors_that_the_process_may_not_use_do_not_count() -> None:
    before = os.sched_getaffinity(0)
    assert 1 <= usable_cores() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
