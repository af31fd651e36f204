"""The embedded default: generate phantoms, train a small HealthyGAN, judge it, show where the report lies."""

from dataclasses import dataclass
from pathlib import Path

from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, Split
from healthygan.data.datasets.phantoms.generate import Kind, write_cohort
from healthygan.evaluation.evaluate import evaluate
from healthygan.evaluation.result import Evaluation
from healthygan.inference.score import score
from healthygan.runs.config import load_config
from healthygan.runs.train import train

HEALTHY = 800
MIXED = (400, 400)
VALIDATION = (100, 100)
TEST = (200, 200)


@dataclass(frozen=True)
class Demo:
    """What the demo came to."""

    evaluation: Evaluation
    report: Path
    to_read: Path
    """The folder of scores and maps that a reader can look through."""


def demo(
    folder: Path, kind: Kind = "chest", seed: int = 0, overrides: tuple[str, ...] = (), progress: Progress = silent
) -> Demo:
    """Generate a cohort under ``folder``, train on it and evaluate; a second call reuses what is there.

    Args:
        kind: chest-like or brain-like phantoms.
        seed: of the training; the phantoms are the same for every seed.
    """
    config = load_config("demo", [*overrides, f"training.seed={seed}"])
    size = config.preprocessing.size
    manifest = write_cohort(
        folder / kind,
        kind,
        size,
        healthy=HEALTHY,
        mixed=MIXED,
        validation=VALIDATION,
        test=TEST,
        seed=0,
        progress=progress,
    )
    cohort = Cohort.from_manifest(manifest)
    run = train(config, cohort, folder / f"run_{kind}_seed{seed}", progress=progress)
    output = run.path / "evaluation"
    evaluation = evaluate(run, cohort, output, progress=progress)
    to_read = folder / f"scores_{kind}_seed{seed}"
    score(run, cohort.paths(Split.TEST), to_read, progress=progress)
    return Demo(evaluation, output / "report.html", to_read)
