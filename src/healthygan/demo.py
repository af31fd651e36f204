"""The embedded default: generate phantoms, train a small HealthyGAN, judge it, show where the report lies."""

from dataclasses import dataclass
from pathlib import Path

from healthygan import workflow
from healthygan.config import load_config
from healthygan.data.cohort import Cohort
from healthygan.data.phantoms import Kind, write_cohort
from healthygan.evaluation import evaluate
from healthygan.report.result import Evaluation

HEALTHY = 800
MIXED = (400, 400)
VALIDATION = (100, 100)
TEST = (200, 200)


@dataclass(frozen=True)
class Demo:
    """What the demo came to."""

    evaluation: Evaluation
    report: Path


def demo(folder: Path, kind: Kind = "chest", seed: int = 0, overrides: tuple[str, ...] = ()) -> Demo:
    """Generate a cohort under ``folder``, train on it and evaluate; a second call reuses what is there.

    Args:
        kind: chest-like or brain-like phantoms.
        seed: of the training; the phantoms are the same for every seed.
    """
    config = load_config("demo", [*overrides, f"training.seed={seed}"])
    size = config.preprocessing.size
    manifest = write_cohort(
        folder / kind, kind, size, healthy=HEALTHY, mixed=MIXED, validation=VALIDATION, test=TEST, seed=0
    )
    cohort = Cohort.from_manifest(manifest)
    run = workflow.train(config, cohort, folder / f"run_{kind}_seed{seed}")
    output = run.path / "evaluation"
    return Demo(evaluate(run, cohort, output), output / "report.html")
