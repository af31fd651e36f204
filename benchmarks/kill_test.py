"""Kills every kind of work at random moments, repeats the command, and compares with what an undisturbed one leaves.

    python benchmarks/kill_test.py DIR [--kills 200] [--minutes 30] [--seed 0] [--only NAME ...]

Each trial kills one command (SIGKILL) up to three times at random moments of its usual time and then lets it end. It
must end by itself with exit code 0, leave the same bytes (of .pt and .npz files, which hold times or names, the same
arrays), and nothing else. Files that two undisturbed commands write differently (what was spent, TensorBoard's) must
be there, whatever they hold. DIR/trials.jsonl keeps the trials: the same command goes on.

Processes are forked from one that has loaded everything, so that moments fall into the work, not into the start.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import healthygan.benchmark.runner
import healthygan.evaluation.evaluate
import healthygan.inference.score
import healthygan.runs.train
from healthygan.cli.main import main as healthygan
from healthygan.common.files import content_hash, write_json
from healthygan.common.folder_lock import LOCK
from healthygan.data.cohort import Cohort
from healthygan.data.datasets.phantoms.generate import write_cohort
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.store import ImageStore

MOST_KILLS = 3
"""Of one trial, before it is left alone."""
STUCK = 180.0
"""Seconds after which a command that nobody disturbs is stuck."""
SETTINGS = {
    "healthygan+": ["evidence=0", "width=4", "generator_blocks=1", "critic_width=4", "critic_blocks=2", "warm_up=2"],
    "ganomaly": ["width=4", "latent=8"],
    "brainomaly": ["width=4", "generator_blocks=1", "discriminator_blocks=2"],
    "padim": ["channels=20"],
}
TRAINING = [
    "iterations=24",
    "decay_iterations=4",
    "batch_size=4",
    "checkpoint_every=4",
    "sample_every=8",
    "log_every=2",
]
PRESETS = {"healthygan+": "small"}


@dataclass(frozen=True)
class Work:
    """A command and the folder, below the trial's own, that it writes to.

    Args:
        run: does it, given that folder; gives the exit code.
        ignored: name endings of files that are no result and may be named anew each time.
    """

    name: str
    run: Callable[[Path], int]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What came of one."""

    work: str
    kills: int
    recovered: bool
    stuck: bool
    leftovers: tuple[str, ...]
    differing: tuple[str, ...]
    said: str


def prepare_world(folder: Path) -> list[Work]:
    """The images, a finished run, and all kinds of work."""
    os.environ["HEALTHYGAN_CACHE"] = str(folder / "cache")
    manifest = write_cohort(folder / "chest", "chest", healthy=16, mixed=(8, 8), validation=(6, 6), test=(8, 8), seed=0)
    finished = folder / "finished"
    train = Work("train", lambda _: healthygan(training(manifest, finished, "healthygan+")))
    # In a process of its own: autograd does not work in the children of one that has used it.
    if not (finished / "decision.json").exists() and end(start(train, folder / "trial"), STUCK) != 0:
        sys.exit(f"the run that is to be scored with could not be trained; see {folder / 'trial.log'}")
    images = sorted((folder / "chest" / "images").glob("*.png"))
    sorted_folders(manifest, folder / "sorted")
    commands = {
        **{
            f"train {name}": lambda out, name=name: healthygan(training(manifest, out / "run", name))
            for name in SETTINGS
        },
        "score with maps": lambda out: healthygan(
            ["score", str(finished), str(manifest), "-o", str(out / "scored"), "--arrays", "--device", "cpu"]
        ),
        "store": lambda out: store(images, out),
        "benchmark": lambda out: healthygan(benchmarking(manifest, budget(folder), out / "results")),
        "prepare": lambda out: healthygan(preparing(folder / "sorted", out / "cohort.csv")),
        "evaluate": lambda out: healthygan(["evaluate", str(finished), "-o", str(out / "judged"), "--device", "cpu"]),
    }
    # A list of files' times, and what each attempt printed.
    ignored = {"store": ("hashes.json", ".lock"), "benchmark": ("fit.log", "predict.log")}
    return [Work(name, run, ignored.get(name, ())) for name, run in commands.items()]


def settings(name: str) -> list[str]:
    """Overrides that make a training last seconds."""
    own = [f"detector.{setting}" for setting in SETTINGS[name]]
    shared = [f"training.{setting}" for setting in TRAINING]
    if name == "padim":  # one pass, no iterations
        shared = []
    return [*own, *shared, "training.device=cpu", "preprocessing.size=32", "selection.rule=last"]


def training(manifest: Path, run: Path, name: str) -> list[str]:
    """The command that trains."""
    overrides = [part for setting in settings(name) for part in ("--set", setting)]
    return ["train", str(manifest), "--preset", PRESETS.get(name, name), "--run", str(run), *overrides]


def budget(folder: Path) -> Path:
    """A budget of two small methods."""
    methods = {
        name: {"preset": PRESETS.get(name, name), "set": [s for s in settings(name) if s.startswith("detector.")]}
        for name in ("ganomaly", "brainomaly")
    }
    shared = [setting for setting in settings("ganomaly") if not setting.startswith("detector.")]
    path = folder / "budget.yaml"
    path.write_text(json.dumps({"base": "small", "set": shared, "methods": methods}))
    return path


def benchmarking(manifest: Path, budget: Path, output: Path) -> list[str]:
    """The command that compares."""
    methods = ["--budget", str(budget), "--detectors", "ganomaly,brainomaly", "--seeds", "1"]
    return ["benchmark", str(manifest), *methods, "--paper", "none", "-o", str(output)]


def preparing(images: Path, manifest: Path) -> list[str]:
    """The command that draws a cohort."""
    amounts = ["healthy=8", "mixed=6+6", "test=4+4"]
    places = ["--healthy", str(images / "healthy"), "--diseased", str(images / "diseased")]
    return ["prepare", "folders", *places, "--counts", *amounts, "-o", str(manifest)]


def store(images: Sequence[Path], cache: Path) -> int:
    """Build a store in a cache of its own."""
    ImageStore.build(images, Preprocessing(size=224), cache=cache, workers=1)
    return 0


def sorted_folders(manifest: Path, folder: Path) -> None:
    """The same images in a folder a label, as ``prepare`` wants them."""
    for image in Cohort.from_manifest(manifest).images:
        place = folder / str(image.label or "healthy") / image.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy(image.path, place)


def start(work: Work, folder: Path) -> int:
    """Fork a process that does the work, with its output in a file beside the folder; gives its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        folder.mkdir(parents=True, exist_ok=True)
        code = work.run(folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end(process: int, seconds: float) -> int | None:
    """Wait for a process; gives its exit code (negative: the signal), none where it did not end, and is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def content_of(path: Path) -> str:
    """A hash of what a file holds; of tensors and arrays, of their values."""
    if path.suffix == ".pt":
        return values_hash(torch.load(path, weights_only=True))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return values_hash({name: arrays[name] for name in arrays if name != "facts"})
    return content_hash(path)


def values_hash(value: object) -> str:
    """Of tensors, arrays and plain values, however they are packed."""
    digest = hashlib.blake2b(digest_size=16)

    def add(part: object) -> None:
        if isinstance(part, dict):
            for name, inner in sorted(part.items(), key=lambda item: str(item[0])):
                digest.update(str(name).encode())
                add(inner)
        elif isinstance(part, list | tuple):
            for inner in part:
                add(inner)
        elif isinstance(part, torch.Tensor | np.ndarray):
            array = np.asarray(part)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()


def snapshot(work: Work, folder: Path) -> dict[str, str]:
    """Every file's content by its place; locks and TensorBoard's diary, whose files' names hold the time, left out."""
    return {
        str(path.relative_to(folder)): content_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != LOCK
        and not path.name.startswith("events.out.tfevents")
        and not path.name.endswith(work.ignored or ("\0",))
    }


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves, and how long it takes."""

    same: dict[str, str]
    """Content of the files that two commands wrote alike."""
    others: frozenset[str]
    seconds: float


def undisturbed(work: Work, folder: Path) -> Undisturbed:
    """Do it twice."""
    left, seconds = [], []
    for _ in range(2):
        clear(folder)
        begun = time.monotonic()
        if (code := end(start(work, folder), STUCK)) != 0:
            sys.exit(f"{work.name}: exit code {code} undisturbed; see {folder.with_suffix('.log')}")
        seconds.append(time.monotonic() - begun)
        left.append(snapshot(work, folder))
    one, two = left
    same = {name: content for name, content in one.items() if two.get(name) == content}
    return Undisturbed(same, frozenset({*one, *two} - {*same}), min(seconds))


def kept_undisturbed(work: Work, folder: Path) -> Undisturbed:
    """The same, done once for all calls."""
    path = folder / f"undisturbed {work.name}.json"
    if not path.exists():
        measured = undisturbed(work, folder / "trial")
        write_json(path, {**asdict(measured), "others": sorted(measured.others)})
    kept = json.loads(path.read_text())
    return Undisturbed(kept["same"], frozenset(kept["others"]), kept["seconds"])


def clear(folder: Path) -> None:
    """Nothing is left of an earlier trial."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".log").unlink(missing_ok=True)


def disturb(work: Work, folder: Path, expected: Undisturbed, draw: random.Random) -> Trial:
    """One trial."""
    clear(folder)
    kills = 0
    for _ in range(draw.randint(1, MOST_KILLS)):
        process = start(work, folder)
        if end(process, draw.uniform(0, expected.seconds)) is not None:
            break  # it was done, or failed, which the next one shows
        kills += 1
    code = end(start(work, folder), STUCK)
    left = snapshot(work, folder)
    leftovers = tuple(sorted({*left} - {*expected.same} - expected.others))
    missing = expected.others - {*left}
    differing = tuple(sorted(missing | {name for name, content in expected.same.items() if left.get(name) != content}))
    lines = folder.with_suffix(".log").read_text(errors="replace").strip().splitlines()
    recovered = code == 0 and not leftovers and not differing
    return Trial(work.name, kills, recovered, code is None, leftovers, differing, "" if code == 0 else lines[-1])


def table(trials: Sequence[Trial], works: Sequence[Work]) -> str:
    """What was killed, how often, and what came of it."""
    rows = [("what", "kills", "recovered", "leftovers", "stuck")]
    for name in [*(work.name for work in works), ""]:
        own = [trial for trial in trials if not name or trial.work == name]
        kills, recovered = sum(t.kills for t in own), sum(t.kills for t in own if t.recovered)
        left, stuck = sum(len(t.leftovers) for t in own), sum(t.stuck for t in own)
        rows.append((name or "all", str(kills), str(recovered), str(left), str(stuck)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def main() -> int:
    """Go on until there are enough kills or the time is over; 1 if anything was not as undisturbed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * options.minutes
    works = [work for work in prepare_world(folder) if not options.only or work.name in options.only]
    kept = folder / "trials.jsonl"
    trials = [Trial(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    expected = {work.name: kept_undisturbed(work, folder) for work in works}
    draw = random.Random(f"{options.seed} {len(trials)}")
    while time.monotonic() < until:
        # All get the same share of the kills; until then, the same time, so that the quick ones are through first.
        counts = {work.name: sum(trial.kills for trial in trials if trial.work == work.name) for work in works}
        left = [work for work in works if counts[work.name] < options.kills / len(works)]
        if not left:
            break
        work = min(left, key=lambda work: counts[work.name] * expected[work.name].seconds)
        trial = disturb(work, folder / "trial", expected[work.name], draw)
        trials.append(trial)
        with kept.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")
        if not trial.recovered:
            print(json.dumps(asdict(trial)), flush=True)
            shutil.copy((folder / "trial.log"), folder / f"failed_{len(trials)}.log")
    print(table(trials, works))
    for work in works:
        found = expected[work.name]
        print(f"{work.name}: {found.seconds:.1f} s, {len(found.same)} files alike, {len(found.others)} not compared")
    return 0 if all(trial.recovered for trial in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
