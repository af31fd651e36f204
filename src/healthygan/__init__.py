"""Find the unhealthy medical images in a pile nobody has annotated.

The Python API does what the command line does::

    from healthygan import Run, evaluate, load_cohort, load_config, score, train

    run = train(load_config("small"), load_cohort(Path("cohort")), Path("runs/first"))
    score(run, [Path("pile")], Path("scores"))
    print(evaluate(run, None, Path("evaluation")).performance)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from healthygan.common.version import __version__ as __version__

if TYPE_CHECKING:
    from healthygan.common.errors import InputError
    from healthygan.common.run_folder import Run
    from healthygan.data.cohort import Cohort, load_cohort
    from healthygan.data.inspection.inspect import inspect_cohort
    from healthygan.evaluation.evaluate import evaluate
    from healthygan.inference.predictor import Predictor
    from healthygan.inference.score import score
    from healthygan.runs.config import Config, load_config
    from healthygan.runs.train import train
else:
    # Loaded at their first use: ``healthygan --help`` need not wait for torch.
    _HOMES = {
        "Cohort": "data.cohort",
        "Config": "runs.config",
        "InputError": "common.errors",
        "Predictor": "inference.predictor",
        "Run": "common.run_folder",
        "evaluate": "evaluation.evaluate",
        "inspect_cohort": "data.inspection.inspect",
        "load_cohort": "data.cohort",
        "load_config": "runs.config",
        "score": "inference.score",
        "train": "runs.train",
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
    "Predictor",
    "Run",
    "evaluate",
    "inspect_cohort",
    "load_cohort",
    "load_config",
    "score",
    "train",
]
