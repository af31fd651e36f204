"""Find the unhealthy medical images in a pile nobody has annotated.

The Python API does what the command line does::

    from healthygan import Run, evaluate, load_cohort, load_config, score, train

    run = train(load_config("small"), load_cohort(Path("cohort")), Path("runs/first"))
    score(run, [Path("pile")], Path("scores"))
    print(evaluate(run, None, Path("evaluation")).performance)
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("healthygan")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"

from healthygan.config import Config, load_config
from healthygan.data.cohort import Cohort, load_cohort
from healthygan.errors import InputError
from healthygan.evaluation import evaluate
from healthygan.inspection import inspect_cohort
from healthygan.run import Run
from healthygan.scoring import score
from healthygan.workflow import train

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
