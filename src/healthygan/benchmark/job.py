"""One process of a benchmark: it trains one detector, or scores the test set with it, and measures what that takes.

Every job has a process of its own, since memory that an earlier job freed would still count as its peak.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from types import TracebackType
from typing import Self
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan.common.errors import InputError, Stopped
from healthygan.common.files import atomic_path, write_json, write_text
from healthygan.common.folder_lock import LOCK, locked
from healthygan.common.progress import lines_to
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split
from healthygan.evaluation.evaluation_set import EvaluationSet
from healthygan.evaluation.map_quality import localisation_of
from healthygan.inference.predictor import Predictor
from healthygan.runs.config import Config
from healthygan.runs.train import train

DONE, STOPPED, FAILED = 0, 1, 2
PATIENCE = 600.0
"""Seconds to wait for a training whose benchmark was killed: it saves, and ends by itself."""
MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a job took."""

    seconds: float
    whole: bool
    """False where a part of the time is not known, because a process was killed."""
    memory: float
    """Peak of the process, MiB; its libraries are in it."""
    libraries: float
    """What of it was there before the job began, MiB."""
    device_memory: float | None
    """Peak on the accelerator, MiB; none without one."""


@dataclass(frozen=True)
class Predicted:
    """What the scoring of a test set left."""

    scores: NDArray[np.float64]
    """(frames,)."""
    shown: NDArray[np.int64]
    """(K,): the frames whose maps were kept."""
    maps: NDArray[np.float32] | None
    """K x H x W in [0, 1]; none where the detector makes no map."""
    key: str
    """Of the test images' store."""
    numbers: int
    """How many numbers the saved model holds."""
    pixel_auroc: float | None
    """Of the maps; none without lesion masks or without maps."""
    cost: Cost


@dataclass(frozen=True)
class Job:
    """One training and where it is kept.

    Args:
        name: of the method and the seed, for messages.
        folder: holds ``run/``, the costs, the scores and a log of each process.
        cohort: the manifest.
        shown: frames of the test set whose maps are kept.
        threads: that computing may use.
    """

    name: str
    config: Config
    folder: Path
    cohort: Path
    shown: tuple[int, ...]
    threads: int
    strict: bool

    @property
    def run(self) -> Run:
        """The run folder."""
        return Run(self.folder / "run")

    @property
    def failure(self) -> Path:
        """The reason in one line, where a process failed."""
        return self.folder / "failure.txt"

    def log(self, stage: str) -> Path:
        """What the process of a stage printed."""
        return self.folder / f"{stage}.log"

    def fitted(self) -> Cost | None:
        """What a finished training took; none before."""
        kept = _Kept.read(self.folder / "fit.json")
        return kept.cost if kept is not None and kept.finished and self.run.decision.exists() else None

    def predicted(self) -> Predicted | None:
        """The scores of the test set; none before."""
        path = self.folder / "predict.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as kept:
                facts = json.loads(str(kept["facts"]))
                facts["cost"] = Cost(**facts["cost"])
                maps = kept.get("maps")
                return Predicted(scores=kept["scores"], shown=kept["shown"], maps=maps, **facts)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error):
            return None  # a damaged file is made anew


@dataclass(frozen=True)
class _Kept:
    """The content of fit.json."""

    cost: Cost
    running: bool = False
    """A process is at it; or one was killed."""
    finished: bool = False

    @classmethod
    def read(cls, path: Path) -> "_Kept | None":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(Cost(**content.pop("cost")), **content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


class Stopwatch:
    """Adds up the seconds between entering and leaving, over the processes that a stopped training needs.

    Args:
        path: of the job's fit.json, which is marked while the watch runs, so that a killed process shows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        before = _Kept.read(path)
        self._cost = before.cost if before else Cost(0.0, True, 0.0, peak_memory(), None)
        if before and before.running:
            self._cost = replace(self._cost, whole=False)

    def __enter__(self) -> Self:
        write_json(self._path, asdict(_Kept(self._cost, running=True)))
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cost = replace(self._cost, seconds=self._cost.seconds + time.perf_counter() - self._start)
        self._write(finished=False)

    def finish(self) -> None:
        """Count the training as done; choosing the model may have raised the peak."""
        self._write(finished=True)

    def _write(self, *, finished: bool) -> None:
        on_device = [peak for peak in (self._cost.device_memory, peak_device_memory()) if peak is not None]
        self._cost = replace(
            self._cost,
            memory=max(self._cost.memory, peak_memory()),
            device_memory=max(on_device, default=None),
        )
        write_json(self._path, asdict(_Kept(self._cost, finished=finished)))


def fit(job: Job) -> None:
    """Train and choose; a stopped training goes on.

    Raises:
        Stopped, InputError: as ``train``.
    """
    if (job.run.path / LOCK).exists():
        with locked(job.run.path, "benchmark", PATIENCE):
            pass
    clock = Stopwatch(job.folder / "fit.json")
    train(
        job.config,
        Cohort.from_manifest(job.cohort),
        job.run.path,
        strict=job.strict,
        clock=clock,
        progress=lines_to(sys.stderr),
    )
    clock.finish()


def predict(job: Job) -> None:
    """Score the test set with the trained detector.

    Raises:
        InputError: the run is damaged, or a score is not finite.
    """
    libraries, progress = peak_memory(), lines_to(sys.stderr)
    predictor = Predictor(job.run, job.config.training.device)
    preprocessing, selection = predictor.config.preprocessing, predictor.config.selection
    images = Cohort.from_manifest(job.cohort).split(Split.TEST)
    judged = EvaluationSet.build(images, preprocessing, selection, strict=job.strict, progress=progress)
    store = judged.store
    predictor.predict_frames(store, np.zeros(1, dtype=np.int64))  # whatever is slow only once
    start = time.perf_counter()
    scores = predictor.scores(store, "test set", progress)
    cost = Cost(time.perf_counter() - start, True, peak_memory(), libraries, peak_device_memory())
    shown = np.array(job.shown, dtype=np.int64)
    difference = predictor.predict_frames(store, shown).where
    numbers = sum(weight.numel() for weight in predictor.detector.state_dict().values() if weight.is_floating_point())
    pixels = {"pixel_auroc": localisation_of(predictor, store, judged.units.frames).get("pixel_auroc")}
    facts = json.dumps({"key": store.key, "numbers": numbers, "cost": asdict(cost)} | pixels)
    arrays = {"scores": scores, "shown": shown} | ({} if difference is None else {"maps": difference[:, 0].numpy()})
    with atomic_path(job.folder / "predict.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), **arrays)


STAGES: dict[str, Callable[[Job], None]] = {"fit": fit, "predict": predict}


def work(job: Job, stage: str) -> None:
    """Do one stage in this process, which ends with it: exit code ``DONE``, ``STOPPED`` or ``FAILED``."""
    _settle(job, stage)
    try:
        STAGES[stage](job)
        code = DONE
    except Stopped:
        code = STOPPED
    except InputError as error:
        code = _fail(job, str(error))
    except Exception as error:  # a fault in one detector must not take the others' results
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        code = _fail(job, f"{type(error).__name__}: {first} (in full in {job.log(stage)})")
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def peak_memory() -> float:
    """Greatest resident memory of this process so far, MiB."""
    try:
        # Not getrusage's: on Linux that includes the peak of the process this one was started from.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def peak_device_memory() -> float | None:
    """Greatest memory of this process on a CUDA device, MiB; none without one."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        return None
    return torch.cuda.max_memory_allocated() / MIB


def _settle(job: Job, stage: str) -> None:
    """Out of the terminal's reach, with a log of its own, and gone when the benchmark is."""
    os.setsid()  # the benchmark alone hears Ctrl-C, and tells its jobs
    job.folder.mkdir(parents=True, exist_ok=True)
    sys.stdout = sys.stderr = job.log(stage).open("a", encoding="utf-8", buffering=1)
    for stream in (1, 2):  # what is printed by other means than Python's
        os.dup2(sys.stderr.fileno(), stream)
    torch.set_num_threads(job.threads)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _fail(job: Job, reason: str) -> int:
    write_text(job.failure, " ".join(reason.split()) + "\n")
    return FAILED
