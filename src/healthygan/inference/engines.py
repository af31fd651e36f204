"""What computes a run's scores: PyTorch, ONNX Runtime or OpenVINO; and the model in the form each one wants.

An export is a folder: the model, and ``model.json`` with all that must be known to use it: preprocessing, shape and
range of the input, names of the outputs, threshold, and how far it is from PyTorch.
"""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from healthygan.common.errors import Argument, InputError
from healthygan.common.files import content_hash, write_json
from healthygan.common.folder_lock import is_empty, locked
from healthygan.common.run_folder import Decision, Run
from healthygan.detectors.base import Detector, Prediction
from healthygan.detectors.prediction import predict_batch
from healthygan.runs.config import Config

Engine = Literal["torch", "onnx", "openvino"]
Precision = Literal["32", "bf16"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
Predict = Callable[[Tensor], Prediction]
"""Scores a batch, N x C x H x W in [-1, 1]; the result is on the CPU."""

OUTPUTS = ("score", "difference", "translated", "mask")
FILES: dict[Engine, str] = {"torch": "model.pt2", "onnx": "model.onnx", "openvino": "model.xml"}
PACKAGES: dict[Engine, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
LARGEST_DIFFERENCE = 1e-3
"""An export further from PyTorch than this, in any pixel, is not handed out."""
PATIENCE = 600.0
"""Seconds to wait for another process that exports to the same folder."""
CHECKED = 3
"""Images it is checked on, in one batch; an odd number, which the model was not recorded with."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    model: Path
    difference: float
    """Largest difference to PyTorch over all outputs."""


def load_engine(
    engine: Engine, run: Run, detector: Detector, config: Config, decision: Decision, precision: Precision = "32"
) -> Predict:
    """How to score with an engine; one other than torch works on the CPU, and is exported to at its first use.

    Args:
        detector, config, decision: the run's own; the detector is what torch scores with.
        precision: what torch's networks compute in; the score is summed in 32 bits either way.

    Raises:
        InputError: as ``write_export``, or bf16 is asked for where it is not known to keep the scores.
    """
    if precision == "bf16":
        given = Argument("precision", precision)
        if engine != "torch":
            raise InputError(
                given, ": is for ", Argument("engine", "torch"), f", not for {engine}; leave one of them out"
            )
        if detector.scorer() is None:
            raise InputError(f"{run.path}: ", given, " is for healthygan and healthygan+ alone; leave it out")
    if engine == "torch":
        return lambda x: predict_batch(detector, x, torch.bfloat16 if precision == "bf16" else torch.float32)
    _need(engine)
    folder = run.path / "export" / engine
    try:
        fresh = json.loads((folder / "model.json").read_bytes())["of"] == content_hash(run.model)
    except (OSError, ValueError, KeyError, TypeError):
        fresh = False
    model = folder / FILES[engine]
    if not fresh or not model.exists():
        write_export(run, detector, config, decision, engine, folder)
    return _predict(engine, model)


def write_export(
    run: Run, detector: Detector, config: Config, decision: Decision, to: Engine, folder: Path
) -> Exported:
    """Write a run's model for an engine into a folder.

    Raises:
        InputError: the detector cannot be exported, the engine is not installed, or what it makes of the model is not
            what PyTorch makes of it.
    """
    _need(to)
    scorer = detector.scorer()
    if scorer is None:
        raise InputError(
            f"{run.path}: its detector {config.detector.name} cannot be exported; score it with ",
            Argument("engine", "torch"),
        )
    with _workshop(folder) as temporary:
        _write(scorer.eval(), to, temporary, config)
        difference = _difference(_predict(to, temporary / FILES[to]), detector, config)
        if not difference <= LARGEST_DIFFERENCE:
            raise InputError(
                f"{run.path}: {to} differs from PyTorch by {difference:.2g}, more than {LARGEST_DIFFERENCE:g}; "
                "use another engine, and please report it"
            )
        write_json(temporary / "model.json", _description(run, config, decision, difference))
        # The description last: with it, the model is there.
        for path in sorted(temporary.iterdir(), key=lambda path: path.name == "model.json"):
            shutil.move(path, folder / path.name)
    return Exported(folder / FILES[to], difference)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """An empty place in ``folder``, there for a while and for one process; nothing stays where the work fails."""
    place = folder / ".new"
    try:
        with locked(folder, "export", PATIENCE):
            shutil.rmtree(place, ignore_errors=True)  # of a killed process
            place.mkdir()
            try:
                yield place
            finally:
                shutil.rmtree(place, ignore_errors=True)
    finally:
        if is_empty(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _description(run: Run, config: Config, decision: Decision, difference: float) -> dict[str, object]:
    """All that must be known to use an export."""
    shape = config.preprocessing
    return {
        "detector": config.detector.name,
        "input": {"shape": ["N", shape.channels, shape.size, shape.size], "range": [-1, 1]},
        "outputs": OUTPUTS,
        "preprocessing": shape.model_dump(mode="json"),
        "decision": decision.model_dump(),
        "largest_difference_to_pytorch": difference,
        "of": content_hash(run.model),
    }


def _need(engine: Engine) -> None:
    for package in PACKAGES[engine]:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{engine}: the package {package} is missing; pip install 'healthygan[{engine}]'")


def _write(scorer: torch.nn.Module, to: Engine, folder: Path, config: Config) -> None:
    shape = config.preprocessing
    # With two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, shape.channels, shape.size, shape.size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with _quiet(), torch.no_grad():
        program = torch.export.export(scorer, (example,), dynamic_shapes=({0: batch},))
        if to == "torch":
            torch.export.save(program, folder / FILES["torch"])
            return
        place = folder / FILES["onnx"]
        torch.onnx.export(
            program,
            (example,),
            str(place),
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if to == "openvino":
        import openvino

        # Not compressed to 16 bits: scores must be PyTorch's.
        openvino.save_model(openvino.convert_model(str(place)), folder / FILES["openvino"], compress_to_fp16=False)
        place.unlink()


def _predict(engine: Engine, model: Path) -> Predict:
    """Scoring with an exported model."""
    run = {"torch": _torch, "onnx": _onnx, "openvino": _openvino}[engine](model)

    def predict(x: Tensor) -> Prediction:
        return Prediction(*(torch.from_numpy(np.array(part)) for part in run(x)))

    return predict


def _torch(model: Path) -> Callable[[Tensor], Any]:
    module = torch.export.load(model).module()

    def run(x: Tensor) -> list[Any]:
        with torch.inference_mode():
            return [part.numpy() for part in module(x)]

    return run


def _onnx(model: Path) -> Callable[[Tensor], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(OUTPUTS, {"image": x.numpy()})


def _openvino(model: Path) -> Callable[[Tensor], Any]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(model), "CPU", settings)

    def run(x: Tensor) -> list[Any]:
        found = compiled(x.numpy())
        return [found[name] for name in OUTPUTS]

    return run


def _difference(predict: Predict, detector: Detector, config: Config) -> float:
    """Largest difference to the detector's own outputs, on smooth noise with black and white in it."""
    shape = config.preprocessing
    coarse = torch.rand(CHECKED, shape.channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    x = interpolate(coarse, (shape.size, shape.size), mode="bilinear").clamp(-1, 1)
    found, expected = predict(x), predict_batch(detector, x)
    apart = [(getattr(found, name) - getattr(expected, name)).abs().max() for name in OUTPUTS]
    return float(torch.stack(apart).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell their developers more than a person wants to read."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
