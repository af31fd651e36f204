"""A finished run's model in a folder of its own, for another engine or without this package.

The folder holds the model and ``model.json`` with all that must be known to use it: preprocessing, shape and range of
the input, names of the outputs, threshold, and how far it is from PyTorch.
"""

from pathlib import Path

from healthygan.common.run_folder import Run
from healthygan.inference.engines import Engine, Exported, write_export
from healthygan.inference.predictor import Predictor


def export(run: Run, to: Engine, output: Path | None = None) -> Exported:
    """Write a finished run's model for an engine, by default into ``RUN/export/ENGINE``.

    Raises:
        InputError: the run is not finished, its detector cannot be exported, the engine is not installed, or what
            it makes of the model is not what PyTorch makes of it.
    """
    predictor = Predictor(run, "cpu")
    folder = output or run.path / "export" / to
    return write_export(run, predictor.detector, predictor.config, predictor.decision, to, folder)
