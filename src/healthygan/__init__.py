"""Find the unhealthy medical images in a pile nobody has annotated.

The Python API does what the command line does::

    from healthygan import Run, evaluate, load_cohort, load_config, score, train

    run = train(load_config("small"), load_cohort(Path("cohort")), Path("runs/first"))
    score(run, [Path("pile")], Path("scores"))
    print(evaluate(run, None, Path("evaluation")).performance)
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

try:
    __version__ = version("healthygan")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"

if TYPE_CHECKING:
    from healthygan.config import Config, load_config
    from healthygan.data.cohort import Cohort, load_cohort
    from healthygan.errors import InputError
    from healthygan.evaluation import evaluate
    from healthygan.inspection.inspection import inspect_cohort
    from healthygan.run import Run
    from healthygan.scoring import score
    from healthygan.workflow import train
else:
    # Loaded at their first use: ``healthygan --help`` need not wait for torch.
    _HOMES = {
        "Cohort": "data.cohort",
        "Config": "config",
        "InputError": "errors",
        "Run": "run",
        "evaluate": "evaluation",
        "inspect_cohort": "inspection.inspection",
        "load_cohort": "data.cohort",
        "load_config": "config",
        "score": "scoring",
        "train": "workflow",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Cohort",
    "Config",
    "InputError",
    "Run",
    "evaluate",
    "inspect_cohort",
    "load_cohort",
    "load_config",
    "score",
    "train",
]
