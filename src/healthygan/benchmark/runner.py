"""Many detectors, several seeds, one test set: trained alike, measured alike, and told in one table.

DIR/cohort.csv                    the images           DIR/table.md, .tex, .csv   the results
DIR/NAME/seed_0/run/              a run folder         DIR/runs.csv               every training by itself
DIR/NAME/seed_0/{fit,predict}.log what it printed      DIR/roc.png, maps.png      pictures
"""

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan.benchmark import published
from healthygan.benchmark.budgets import Method
from healthygan.benchmark.job import DONE, FAILED, STAGES, Job, work
from healthygan.benchmark.results import Example, Failed, Finished, GroundTruth, Results, Row, summarise
from healthygan.common.errors import Argument, InputError, Stopped
from healthygan.common.files import remove_leftovers, write_text
from healthygan.common.folder_lock import is_empty, locked
from healthygan.common.processors import usable_cores
from healthygan.common.progress import Advance, Progress, silent
from healthygan.common.version import __version__
from healthygan.data.checks import verify
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.data.preprocessing import Preprocessing
from healthygan.evaluation.cases import grey_of, lesion_of
from healthygan.evaluation.evaluation_set import EvaluationSet
from healthygan.runs.aggregation import Units
from healthygan.runs.config import Config, load_config
from healthygan.runs.partition import decode_parts

SHOWN = 4
"""Images of each class in the picture grid."""
PATIENCE = 0.5
"""Seconds between two looks at what the processes print."""
TAIL = 2000
"""Last bytes of a log in which its last line is sought."""


def benchmark(
    cohort: Cohort,
    methods: Sequence[Method],
    output: Path,
    *,
    seeds: int = 3,
    workers: int = 1,
    paper: str | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Results:
    """Train every method with every seed and judge it on the cohort's test set.

    What an earlier call finished in ``output`` is not done again; what was stopped goes on; what failed is tried
    again. A training that fails is listed in the results with its reason, and the others go on.

    Args:
        methods: from ``budgets.plan``.
        output: folder of everything; may hold other methods and seeds of the same cohort.
        seeds: how many trainings of each method, with the seeds 0, 1, ...
        workers: trainings at a time, spread over the CUDA devices there are.
        paper: one of ``published.PAPERS`` whose published figures are to stand beside ours.

    Raises:
        InputError: the cohort has no labelled test set, ``output`` holds something else, or nothing succeeded.
        Stopped: Ctrl-C; a second call goes on.
    """
    if seeds < 1 or workers < 1:
        raise InputError(Argument("seeds", seeds), ", ", Argument("workers", workers), ": give 1 or more")
    verify(cohort, needs=(Split.HEALTHY, Split.MIXED, Split.TEST), progress=progress)
    with locked(output, "benchmark"):
        manifest = _keep_cohort(cohort, output)
        remove_leftovers(output, below=True)
        _check_runs(methods, seeds, output)
        judged, labels = _prepare(cohort, methods, strict, progress)
        store, units = judged.store, judged.units
        plan = _Plan(manifest, output, _shown(units.frames), _threads(workers), strict)
        jobs = {(method.name, seed): plan.job(method, seed) for method in methods for seed in range(seeds)}
        _Pool(workers).run([job for job in jobs.values() if not _is_done(job, store.key)], len(jobs), progress)
        test = GroundTruth(labels, units.groups(), units.noun)
        rows = tuple(
            _row(method, [jobs[method.name, seed] for seed in range(seeds)], units, test, paper) for method in methods
        )
        failures = tuple(
            Failed(name, seed, job.failure.read_text(encoding="utf-8").strip())
            for (name, seed), job in jobs.items()
            if job.failure.exists()
        )
        if not any(row.finished for row in rows):
            raise InputError(f"{output}: every training failed; the first: {failures[0].method}: {failures[0].reason}")
        return Results(
            cohort=cohort.name,
            paper=paper,
            test=test,
            rows=rows,
            seeds=seeds,
            failures=failures,
            controls=judged.control_aucs(cohort, (), labels),
            examples=tuple(_example(judged, number, methods[0].config.preprocessing) for number in plan.shown),
            notes=(*(f"{failure.reason} (left out)" for failure in store.failures[:5]), _machine(workers)),
        )


def _keep_cohort(cohort: Cohort, output: Path) -> Path:
    """The manifest that all jobs read; the images of a benchmark may not change while it is stopped."""
    manifest = output / "cohort.csv"
    if manifest.exists():
        if Cohort.from_manifest(manifest).images != cohort.images:
            raise InputError(f"{output}: holds a benchmark of another cohort; choose another folder")
    elif not is_empty(output):
        raise InputError(f"{output}: not empty and not a benchmark; choose another folder")
    else:
        cohort.write_manifest(manifest)
    return manifest


def _check_runs(methods: Iterable[Method], seeds: int, output: Path) -> None:
    """Trainings that were begun go on with the settings they were begun with."""
    for method in methods:
        for seed in range(seeds):
            kept = output / method.name / f"seed_{seed}" / "run" / "config.yaml"
            if kept.exists() and (changed := _difference(load_config(kept), method.seeded(seed))):
                raise InputError(
                    f"{kept.parent}: was begun with other settings ({changed}); choose another folder or remove "
                    f"{output / method.name}"
                )


def _difference(old: Config, new: Config) -> str:
    """The first setting that differs, in words; empty where none does."""
    for section, fields in new.model_dump(mode="json").items():
        before = old.model_dump(mode="json")[section]
        for name in {**before, **fields}:
            if before.get(name) != fields.get(name):
                return f"{section}.{name}={before.get(name)}, now {fields.get(name)}"
    return ""


def _prepare(
    cohort: Cohort, methods: Sequence[Method], strict: bool, progress: Progress
) -> tuple[EvaluationSet, NDArray[np.bool_]]:
    """Decode every set beforehand, so that no method's clock or memory has it; the test set and its labels."""
    config, test = methods[0].config, cohort.split(Split.TEST)
    judged = EvaluationSet.build(test, config.preprocessing, config.selection, strict=strict, progress=progress)
    labels = judged.labels
    if labels is None:
        raise InputError(
            f"{cohort.name}: the test set needs labels, healthy and diseased; a benchmark measures by them"
        )
    for method in methods:
        decode_parts(cohort, method.config, strict, progress)
    return judged, labels


def _shown(frames: Sequence[CohortImage]) -> tuple[int, ...]:
    """Diseased, then healthy frames for the picture grid: drawn blindly, so that they flatter nobody."""
    random = np.random.default_rng(0)
    groups = [
        [n for n, image in enumerate(frames) if image.label is label] for label in (Label.DISEASED, Label.HEALTHY)
    ]
    return tuple(int(number) for group in groups for number in np.sort(random.permutation(group)[:SHOWN]))


def _example(judged: EvaluationSet, number: int, preprocessing: Preprocessing) -> Example:
    image = judged.units.frames[number]
    lesion = lesion_of(image, preprocessing) if image.mask else None
    grey = grey_of(judged.store, np.array([number]))
    return Example(image.path.name, image.label is Label.DISEASED, grey, lesion)


@dataclass(frozen=True)
class _Plan:
    """What all jobs have in common."""

    cohort: Path
    output: Path
    shown: tuple[int, ...]
    threads: int
    strict: bool

    def job(self, method: Method, seed: int) -> Job:
        folder = self.output / method.name / f"seed_{seed}"
        name = f"{method.name}, seed {seed}"
        return Job(name, method.seeded(seed), folder, self.cohort, self.shown, self.threads, self.strict)


def _is_done(job: Job, key: str) -> bool:
    predicted = job.predicted()
    return job.fitted() is not None and predicted is not None and predicted.key == key


def _row(method: Method, jobs: Sequence[Job], units: Units, test: GroundTruth, paper: str | None) -> Row:
    finished = tuple(run for job in jobs if (run := _finished(job, units)) is not None)
    beside = published.published_results(paper, method.name) if paper else ()
    return Row(method, finished, summarise(test, finished) if finished else {}, beside)


def _finished(job: Job, units: Units) -> Finished | None:
    cost, predicted = job.fitted(), job.predicted()
    if cost is None or predicted is None or job.failure.exists():
        return None
    decision = job.run.load_decision()
    done = max(job.run.candidates(), default=decision.iteration)
    return Finished(job.config.training.seed, decision, done, cost, predicted, units.scores(predicted.scores))


class _Pool:
    """Runs jobs in processes of their own, some at a time; the stages of one job follow each other."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.context = _context()
        self.running: dict[BaseProcess, tuple[Job, list[str], int]] = {}

    def run(self, jobs: Sequence[Job], total: int, progress: Progress) -> None:
        """Do the jobs; a failed one leaves its reason in its folder.

        Raises:
            Stopped: Ctrl-C; everything was given the time to save.
        """
        waiting = list(jobs)
        free = list(range(self.workers))
        with progress("benchmark", total, total - len(jobs)) as advance:
            try:
                while waiting or self.running:
                    while waiting and free:
                        job = waiting.pop(0)
                        self._start(job, [stage for stage in STAGES if stage != "fit" or not job.fitted()], free.pop(0))
                    connection.wait([process.sentinel for process in self.running], PATIENCE)
                    for process in [process for process in self.running if not process.is_alive()]:
                        self._next(process, free, advance)
                    advance(0, self._note())
            except KeyboardInterrupt:
                self._stop()
                raise Stopped("stopped") from None

    def _start(self, job: Job, stages: list[str], place: int) -> None:
        job.failure.unlink(missing_ok=True)
        stage, *rest = stages
        with _one_cuda_device(place):
            process = self.context.Process(target=work, args=(job, stage), name=f"{job.name}: {stage}")  # type: ignore[attr-defined]
            process.start()
        self.running[process] = (job, rest, place)

    def _next(self, process: BaseProcess, free: list[int], advance: Advance) -> None:
        job, rest, place = self.running.pop(process)
        process.join()
        if process.exitcode == DONE and rest:
            self._start(job, rest, place)
            return
        if process.exitcode not in (DONE, FAILED):
            _say_how_it_ended(job, process)
        free.append(place)
        advance(1)

    def _stop(self) -> None:
        """Ask every process to save and end. A second Ctrl-C does not wait for them."""
        print("stopping; every training saves its state first", file=sys.stderr, flush=True)
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.join()

    def _note(self) -> str:
        return "; ".join(f"{process.name} {_last_line(job, process)}" for process, (job, _, _) in self.running.items())


def _context() -> BaseContext:
    """How processes come to be: forked from one that has loaded the libraries, where no CUDA forbids it."""
    if sys.platform != "linux" or torch.cuda.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["healthygan.benchmark.job"])
    return context


@contextmanager
def _one_cuda_device(place: int) -> Iterator[None]:
    """While it lasts, new processes see the CUDA device whose turn it is, and no other."""
    if not torch.cuda.is_available():
        yield
        return
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    devices = before.split(",") if before else [str(number) for number in range(torch.cuda.device_count())]
    os.environ[name] = devices[place % len(devices)]
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _say_how_it_ended(job: Job, process: BaseProcess) -> None:
    """A process that could not say so itself: stopped from outside, or out of memory."""
    code = process.exitcode
    reason = f"killed by signal {-code} (out of memory?)" if code is not None and code < 0 else "stopped from outside"
    write_text(job.failure, f"{process.name}: {reason}\n")


def _last_line(job: Job, process: BaseProcess) -> str:
    try:
        with job.log(process.name.rsplit(": ", 1)[1]).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:60] if lines else ""


def _threads(workers: int) -> int:
    """Threads of each process: never more than the cores, or than OMP_NUM_THREADS."""
    return max(1, min(torch.get_num_threads(), usable_cores() // workers))


def paper_cohort(cohort: Cohort) -> str | None:
    """The one of ``published.PAPERS`` that the cohort's name tells; none where it tells none."""
    return cohort.name.lower() if cohort.name.lower() in published.PAPERS else None


def _machine(workers: int) -> str:
    device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    threads = _threads(workers)
    return (
        f"healthygan {__version__}, torch {torch.__version__} on {platform.machine()} {platform.system()}, {device}"
        f"{usable_cores()} cores; {workers} training{'s' * (workers > 1)} at a time, {threads} thread"
        f"{'s' * (threads > 1)} each"
    )
