"""All detectors on the phantoms of the demo, with a small budget: what `make benchmark` runs.

python benchmarks/phantoms.py DIR [options of healthygan benchmark]
"""

import sys
from pathlib import Path

from healthygan.cli import demo
from healthygan.cli.main import main
from healthygan.data.datasets.phantoms.generate import write_cohort


def run(folder: Path, options: list[str]) -> int:
    """Generate the cohort under ``folder``, unless it is there, and compare; gives the exit code."""
    manifest = write_cohort(
        folder / "chest",
        "chest",
        healthy=demo.HEALTHY,
        mixed=demo.MIXED,
        validation=demo.VALIDATION,
        test=demo.TEST,
        seed=0,
    )
    settings = ["--budget", "small", "--seeds", "1", "--workers", "2", *options]
    return main(["benchmark", str(manifest), "-o", str(folder / "results"), *settings])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit("stopped while generating phantoms; the same command begins anew")
