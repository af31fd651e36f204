"""A finished run, loaded once: whoever scores images does it with this."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthygan.common.batching import in_batches
from healthygan.common.errors import Argument, InputError
from healthygan.common.progress import Advance, Progress, silent
from healthygan.common.run_folder import Run
from healthygan.data.preprocessing import to_tensor
from healthygan.data.readers.base import DecodedImage, value_range
from healthygan.data.store import ImageStore
from healthygan.detectors.base import Prediction
from healthygan.detectors.prediction import BATCH, device_of
from healthygan.inference.engines import Engine, Precision, load_engine
from healthygan.inference.frames import decode
from healthygan.runs.reference import load_reference
from healthygan.runs.train import load
from healthygan.stats import conformal
from healthygan.stats.arrays import Floats

BATCH_PIXELS = {"cpu": 2**17, "cuda": 2**21, "mps": 2**20}
"""Pixels of a batch: enough to fill the device, few enough for the caches of a CPU and for any memory."""

Image = NDArray[np.generic] | Path | str
"""Pixels, H x W or H x W x 3 (red, green, blue), or a file."""


@dataclass(frozen=True)
class Predictions:
    """What a run says of N frames, in the order of the images given; S is the side of what its networks see."""

    scores: NDArray[np.float64]
    """(N,); higher is more anomalous."""
    p_values: NDArray[np.float64] | None
    """(N,), conformal: the share of healthy images that score as high, from those kept out of training. None where
    there were none, or where the run judges patients by all of their images together."""
    maps: NDArray[np.float32] | None
    """Difference maps, N x S x S in [0, 1]; none where the detector makes none."""
    translated: NDArray[np.float32] | None
    """x', N x C x S x S in [-1, 1]; none where the detector translates nothing."""
    masks: NDArray[np.float32] | None
    """M, N x S x S in [0, 1], 1 = replaced by the generator; likewise."""
    owners: NDArray[np.int64]
    """(N,): which of the images given each frame is of; a file may hold several."""
    frames: NDArray[np.int64]
    """(N,): number of each frame in its file, 0 for an array."""

    def __len__(self) -> int:
        return len(self.scores)


class Predictor:
    """A finished run, loaded once.

    Calling it writes no file, prints nothing and changes nothing in the process or in itself, so that several threads
    may share one.

    Args:
        run: the run folder, as ``Run`` or as a path.
        device: auto, cpu, cuda or mps.
        engine: what computes: torch, onnx or openvino; the latter two on the CPU, after an export into the run folder
            at their first use.
        precision: what torch's networks compute in, 32 or bf16; bf16 is up to twice as fast where the processor has
            units for it.

    Raises:
        InputError: the run is not finished or damaged, or the device, the engine or the precision cannot be used.
    """

    def __init__(
        self, run: Run | Path | str, device: str = "auto", engine: Engine = "torch", precision: Precision = "32"
    ) -> None:
        self.run = run if isinstance(run, Run) else Run(Path(run))
        if engine != "torch":
            if device not in ("auto", "cpu"):
                raise InputError(
                    Argument("engine", engine),
                    f": computes on the CPU, not on {device}; leave ",
                    Argument("device"),
                    " out",
                )
            device = "cpu"
        self.detector, self.config, self.decision = load(self.run, device)
        self.reference = load_reference(self.run, self.config.selection)
        self._predict = load_engine(engine, self.run, self.detector, self.config, self.decision, precision)

    @property
    def threshold(self) -> float | None:
        """Scores at or above it are called diseased; none where too few healthy images were held out."""
        return self.decision.threshold

    @property
    def batch_size(self) -> int:
        """Images that go through the network together."""
        return max(1, BATCH_PIXELS[device_of(self.detector).type] // self.config.preprocessing.size**2)

    def predict(self, images: Sequence[Image]) -> Predictions:
        """Score arrays or files.

        Args:
            images: arrays of 8 or 16 bits span black to white by their type; other numbers by their own least and
                greatest finite value, floats in [0, 1] included only if they reach both ends. Files are read as
                ``score`` reads them, every frame.

        Raises:
            UnreadableImage: a file cannot be used.
            InputError: a score is not a finite number, so that the model must be damaged.
            ValueError: there is no image, or an array is not of a shape above.
        """
        if not images:
            raise ValueError("no images; give at least one")
        decoded = [self._decode(image) for image in images]
        owners = np.repeat(np.arange(len(images)), [len(frames) for frames in decoded])
        pixels = [pixels for frames in decoded for _, pixels in frames]
        numbers = np.array([number for frames in decoded for number, _ in frames], dtype=np.int64)
        parts = [
            self._checked(to_tensor(np.stack([pixels[n] for n in part])))
            for part in in_batches(len(pixels), self.batch_size)
        ]
        scores = np.concatenate([part.score.double().numpy() for part in parts])
        by_image = self.config.selection.unit == "image"
        return Predictions(
            scores=scores,
            p_values=self.p_values(scores) if by_image else None,
            maps=_joined([part.where for part in parts], plane=True),
            translated=_joined([part.translated for part in parts]),
            masks=_joined([part.mask for part in parts], plane=True),
            owners=owners,
            frames=numbers,
        )

    def predict_batch(self, x: Tensor) -> Prediction:
        """Score preprocessed images x, N x C x S x S in [-1, 1]; the result is on the CPU.

        Scores of a damaged model may not be finite numbers; the other methods refuse them.
        """
        return self._predict(x)

    def predict_frames(self, store: ImageStore, indices: NDArray[np.int64]) -> Prediction:
        """Score some frames of a store, in one batch."""
        return self._checked(to_tensor(store.read(indices)))

    def predict_store(self, store: ImageStore, advance: Advance) -> Iterator[Prediction]:
        """Score a whole store, batch by batch."""
        for indices in in_batches(len(store), BATCH):
            yield self.predict_frames(store, indices)
            advance(len(indices))

    def scores(self, store: ImageStore, title: str, progress: Progress = silent) -> NDArray[np.float64]:
        """(frames,): anomaly scores of a whole store."""
        with progress(f"{title}: scoring", len(store)) as advance:
            return np.concatenate([part.score.double().numpy() for part in self.predict_store(store, advance)])

    def p_values(self, scores: Floats) -> NDArray[np.float64] | None:
        """(M,): conformal p-values of M scores of what the run judges, images or patients; none without held-out ones.

        They hold for new images alone, not for those that were trained on.
        """
        healthy = self.reference.threshold
        return conformal.p_values(scores, healthy) if len(healthy) else None

    def _checked(self, x: Tensor) -> Prediction:
        prediction = self.predict_batch(x)
        if not prediction.score.isfinite().all():
            raise InputError(f"{self.run.model}: gives scores that are not finite; copy the run again or train anew")
        return prediction

    def _decode(self, image: Image) -> list[tuple[int, NDArray[np.uint16]]]:
        """Frame numbers and pixels, C x S x S."""
        preprocessing = self.config.preprocessing
        if not isinstance(image, np.ndarray):
            return [(frame.number, frame.pixels) for frame in decode(Path(image), preprocessing)]
        if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
            raise ValueError(f"an array of shape {image.shape}; give H x W, or H x W x 3 in red, green, blue")
        return [(0, preprocessing(DecodedImage(image, *value_range(image))))]


def _joined(parts: Sequence[Tensor | None], plane: bool = False) -> NDArray[np.float32] | None:
    """Batches as one array; without the channel where there is but one ``plane``. None where a part is none."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    joined: NDArray[np.float32] = torch.cat(known).numpy()
    return joined[:, 0] if plane else joined
