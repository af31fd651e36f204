"""Files damaged at random are read or refused in one line; ``benchmarks/fuzz_readers.py`` tries many more."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fixtures.readers import refusal
from healthygan.data.readers.base import ReaderOptions

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "fuzz_readers.py"
INPUTS = Path(os.environ.get("HEALTHYGAN_SHARED", Path(__file__).parents[4] / "shared")) / "bad_inputs"
SEEDS = 320
"""Ten of each file."""


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_readers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_files_to_start_from_are_read(fuzz: ModuleType, tmp_path: Path) -> None:
    assert len(fuzz.valid_files()) >= 24
    for name, content in fuzz.valid_files().items():
        (tmp_path / name).write_bytes(content)
        assert fuzz.tried(tmp_path / name, ReaderOptions()) == ("read", ""), name


@pytest.mark.filterwarnings("ignore")
def test_mutations_are_read_or_refused_in_one_line(fuzz: ModuleType, tmp_path: Path) -> None:
    outcomes = {}
    for seed in range(20_000, 20_000 + SEEDS):
        name, content = fuzz.mutated(seed)
        (tmp_path / name).write_bytes(content)
        outcomes[seed] = fuzz.tried(tmp_path / name, ReaderOptions(max_memory=fuzz.MEMORY))
    assert {seed: told for seed, told in outcomes.items() if told[0] == "failed"} == {}
    assert {kind for kind, _ in outcomes.values()} == {"read", "refused"}


def test_same_seed_gives_the_same_file(fuzz: ModuleType) -> None:
    assert fuzz.mutated(77) == fuzz.mutated(77)
    assert fuzz.mutated(77) != fuzz.mutated(77 + len(fuzz.valid_files()))


@pytest.mark.skipif(not INPUTS.is_dir(), reason=f"there is no {INPUTS} (set HEALTHYGAN_SHARED)")
@pytest.mark.filterwarnings("ignore")
def test_files_that_broke_earlier_readers_are_refused() -> None:
    for path in sorted(INPUTS.iterdir()):
        refusal(path)
