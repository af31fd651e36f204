"""Whatever a person gives that cannot be used: one line that names it, exit code 2, no traceback.

Some broken files in a pile are no fault: the others are scored, and the broken ones counted and listed.
"""

import errno
import os
import pickle
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from healthygan.cli.main import main
from healthygan.common.run_folder import Run
from healthygan.data.cohort import Cohort, Split

PROGRESS = re.compile(r".+: \d+/\d+(, \d+ s left.*| in \d+ s)")
HEADER = "path,split,label,patient_id\n"


class Outcome(Enum):
    REFUSED = auto()
    """Exit code 2 and one line with the culprit."""
    SKIPPED = auto()
    """Exit code 0, the culprit in failures.txt."""
    SCORED = auto()
    """Exit code 0: it looks wrong, but is fine."""


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@dataclass
class World:
    """What a case starts from: good images, a finished run, and a folder of its own."""

    folder: Path
    finished: Run
    manifest: Path
    images: tuple[Path, ...]
    set_options: list[str]
    patch: pytest.MonkeyPatch

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def marker(self) -> Path:
        return self.folder / "the bomb went off"

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self) -> Run:
        """A copy of the finished run, to be damaged."""
        path = self.folder / "run"
        shutil.copytree(self.finished.path, path)
        return Run(path)

    def rows(self, *rows: str) -> Path:
        """A manifest of such rows; {0}, {1}... stand for good images."""
        names = [str(path) for path in self.images]
        return self.file("cohort.csv", HEADER + "".join(row.format(*names) + "\n" for row in rows))

    def score(self, *images: Path, run: Run | Path | None = None, more: tuple[str, ...] = ()) -> list[str]:
        path = run.path if isinstance(run, Run) else run or self.finished.path
        names = [str(image) for image in images or self.images[:1]]
        return ["score", str(path), *names, "-o", str(self.output), "--no-maps", "--device", "cpu", *more]

    def train(self, cohort: Path | None = None, *more: str) -> list[str]:
        run = str(self.folder / "new")
        return ["train", str(cohort or self.manifest), "--run", run, *self.set_options, *more]

    def evaluate(self, run: Run) -> list[str]:
        return ["evaluate", str(run.path), "-o", str(self.output), "--device", "cpu"]


@pytest.fixture
def world(
    finished_run: tuple[Run, Cohort],
    manifest: Path,
    set_options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    run, cohort = finished_run
    return World(tmp_path, run, manifest, cohort.paths(Split.TEST), set_options, monkeypatch)


def _png(world: World) -> bytes:
    return world.images[0].read_bytes()


def _jpeg(world: World, name: str) -> Path:
    path = world.folder / name
    with Image.open(world.images[0]) as image:
        image.resize((64, 64)).save(path, format="JPEG")
    return path


def _dicom(world: World, *, pixels: bool = True) -> Path:
    path = world.folder / "scan.dcm"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    if pixels:
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 32, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.PixelData = np.arange(1024, dtype=np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def _nifti(world: World, name: str, *, value: float | None = None) -> Path:
    path = world.folder / name
    voxels = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    if value is not None:
        voxels[:] = value
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


def _cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _pile(world: World, broken: Path) -> list[str]:
    return world.score(*world.images[:3], broken)


def _fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# Images ---------------------------------------------------------------------------------------------------


def _jpeg_cut(world: World) -> list[str]:
    return world.score(_cut(_jpeg(world, "photo.jpg")))


def _header_lies(world: World) -> list[str]:
    content = bytearray(_png(world))
    content[16:24] = (200_000).to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    return world.score(world.file("huge.png", bytes(content)))


def _grey(world: World) -> list[str]:
    Image.new("F", (16, 16), 0.5).save(world.folder / "flat.tif")
    return world.score(world.folder / "flat.tif")


def _link_to_nowhere(world: World) -> list[str]:
    (world.folder / "pile").mkdir()
    (world.folder / "pile" / "gone.png").symlink_to(world.folder / "nowhere.png")
    return world.score(world.folder / "pile" / "gone.png")


def _empty_folder(world: World) -> list[str]:
    (world.folder / "pile").mkdir()
    return world.score(world.folder / "pile")


# Manifests ------------------------------------------------------------------------------------------------


def _same_bytes(world: World) -> list[str]:
    copy = shutil.copy(world.images[0], world.folder / "copy.png")
    return world.train(world.rows("{0},healthy,,", f"{copy},mixed,,"))


def _broken_healthy_set(world: World) -> list[str]:
    one, other = (world.file(f"{name}.png", f"no picture {name}") for name in "ab")
    return world.train(world.rows(f"{one},healthy,,", f"{other},healthy,,", "{0},mixed,,", "{1},mixed,,"))


def _strict(world: World) -> list[str]:
    broken = world.file("torn.png", _png(world)[:60])
    rows = [f"{{{number}}},{'mixed' if number % 2 else 'healthy'},," for number in range(12)]
    return world.train(world.rows(*rows, f"{broken},mixed,,"), "--strict")


def _nested(world: World) -> list[str]:
    below = world.folder / "all" / "mixed"
    below.mkdir(parents=True)
    shutil.copy(world.images[0], below)
    return ["train", "--healthy", str(below.parent), "--mixed", str(below), "--run", str(world.folder / "r")]


# Run folders ----------------------------------------------------------------------------------------------


def _unfinished(world: World) -> list[str]:
    run = world.run()
    run.decision.unlink()
    return world.score(run=run)


def _bare_bomb(world: World) -> list[str]:
    run = world.run()
    run.model.write_bytes(pickle.dumps(Bomb(world.marker)))
    return world.score(run=run)


def _zipped_bomb(world: World) -> list[str]:
    run = world.run()
    torch.save({"generator": Bomb(world.marker)}, run.model)
    return world.score(run=run)


def _resumed(run: Run) -> list[str]:
    """Go on with a run as if it had been stopped: a finished one is left as it is."""
    run.decision.unlink()
    return ["train", "--resume", str(run.path)]


def _checkpoint_bomb(world: World) -> list[str]:
    run = world.run()
    torch.save({"iteration": Bomb(world.marker)}, run.checkpoint)
    return _resumed(run)


def _candidate_bomb(world: World) -> list[str]:
    run = world.run()
    torch.save(Bomb(world.marker), next(iter(run.candidates().values())))
    return _resumed(run)


def _checkpoint_of_another(world: World) -> list[str]:
    run = world.run()
    torch.save({"iteration": 4, "modules": {}, "optimisers": {}}, run.checkpoint)
    return _resumed(run)


def _model_cut(world: World) -> list[str]:
    run = world.run()
    _cut(run.model)
    return world.score(run=run)


def _model_gone(world: World) -> list[str]:
    run = world.run()
    run.model.unlink()
    return world.score(run=run)


def _model_is_a_list(world: World) -> list[str]:
    run = world.run()
    torch.save([1, 2], run.model)
    return world.score(run=run)


def _model_of_another_size(world: World) -> list[str]:
    run = world.run()
    run.config.write_text(run.config.read_text().replace("width: 4", "width: 8"))
    return world.score(run=run)


def _model_of_nan(world: World) -> Run:
    run = world.run()
    weights = torch.load(run.model, weights_only=True)
    torch.save({name: torch.full_like(value, torch.nan) for name, value in weights.items()}, run.model)
    return run


def _partial_list_damaged(world: World) -> list[str]:
    arguments = world.score(*world.images[:2])
    assert main(arguments) == 0
    states = [(image, image.stat().st_size, image.stat().st_mtime_ns) for image in world.images[:2]]
    rows = [f"{image},{'x' * (not n)}0,0.5,,{size},{time}\n" for n, (image, size, time) in enumerate(states)]
    world.file("out/scores.partial.csv", "".join(rows))
    return arguments


def _file_of_run(name: str, content: str) -> Callable[[World], list[str]]:
    def prepare(world: World) -> list[str]:
        run = world.run()
        (run.path / name).write_text(content)
        return world.score(run=run)

    return prepare


def _evaluate_without(name: str) -> Callable[[World], list[str]]:
    def prepare(world: World) -> list[str]:
        run = world.run()
        (run.path / name).unlink()
        return world.evaluate(run)

    return prepare


def _moved_cohort(world: World) -> list[str]:
    run = world.run()
    text = run.cohort.read_text().replace("test_healthy_00.png", "test_moved.png")
    run.cohort.write_text(text)
    return world.evaluate(run)


def _foreign_folder(world: World) -> list[str]:
    world.file("new/thesis.txt", "precious")
    return world.train()


def _run_of_another_configuration(world: World) -> list[str]:
    run = world.run()
    return [*world.train(), "--set", "training.seed=5", "--run", str(run.path)]


def _run_is_a_file(world: World) -> list[str]:
    world.file("new", "a file")
    return world.train()


def _resume_with(*more: str) -> Callable[[World], list[str]]:
    return lambda world: ["train", "--resume", str(world.finished.path), *more]


# Output and machine ---------------------------------------------------------------------------------------


def _output_below_a_file(world: World) -> list[str]:
    world.file("out", "a file")
    return world.score()


def _inspect_below_a_file(world: World) -> list[str]:
    below = world.file("file", "") / "sheet.png"
    return ["inspect", str(world.manifest), *world.set_options, "-o", str(below)]


def _disk_full(call: str, prepare: Callable[[World], list[str]]) -> Callable[[World], list[str]]:
    def full(world: World) -> list[str]:
        arguments = prepare(world)
        world.patch.setattr(os, call, _fail_with(errno.ENOSPC))
        return arguments

    return full


def _disk_full_between(world: World) -> list[str]:
    world.patch.setattr("healthygan.inference.partial.PartialScores.keep", _fail_with(errno.ENOSPC))
    return world.score()


def _output_in_place_of_a_file(world: World) -> list[str]:
    world.file("out", "")
    return world.score()


def _run_in_place_of_a_file(world: World) -> list[str]:
    world.file("new", "")
    return world.train()


def _beside_resume(*options: str) -> Callable[[World], list[str]]:
    return lambda world: ["train", "--resume", str(world.finished.path), *options]


def _preset_beside_config(world: World) -> list[str]:
    return world.train(None, "--preset", "demo", "--config", "small")


def _resumed_without_cohort(world: World) -> list[str]:
    run = world.run()
    run.cohort.unlink()
    return ["train", "--resume", str(run.path)]


def _brackets_in_the_output(world: World) -> list[str]:
    command = world.score()
    command[command.index("-o") + 1] = str(world.folder / "[/red] a [b]")
    return command


def _settings_that_explode(world: World) -> list[str]:
    lines = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    return world.train(None, "--config", str(world.file("mine.yaml", "a0: &a0 [x, x]\n" + lines)))


def _cache_below_a_file(world: World) -> list[str]:
    world.patch.setenv("HEALTHYGAN_CACHE", str(world.file("file", "") / "cache"))
    return world.train()


def _no_cuda(world: World) -> None:
    world.patch.setattr(torch.cuda, "is_available", lambda: False)
    world.patch.setattr(torch.cuda, "device_count", lambda: 0)


def _score_without_cuda(world: World) -> list[str]:
    _no_cuda(world)
    return world.score(more=("--device", "cuda"))


def _train_without_cuda(world: World) -> list[str]:
    _no_cuda(world)
    return world.train(None, "--set", "training.device=cuda")


def _output_of_another_model(world: World) -> list[str]:
    world.file("out/model.json", '{"model": "another"}')
    return world.score()


def _setting(text: str) -> Callable[[World], list[str]]:
    return lambda world: world.train(None, "--set", text)


def _config(content: bytes | str) -> Callable[[World], list[str]]:
    return lambda world: [
        *("train", str(world.manifest), "--run", str(world.folder / "new")),
        *("--config", str(world.file("mine.yaml", content))),
    ]


REFUSED, SKIPPED, SCORED = Outcome.REFUSED, Outcome.SKIPPED, Outcome.SCORED

CASES: dict[str, tuple[Callable[[World], list[str]], str, Outcome]] = {
    # Images
    "PNG cut off": (lambda w: w.score(w.file("a.png", _png(w)[:-40])), "a.png: damaged", REFUSED),
    "PNG of its signature only": (lambda w: w.score(w.file("a.png", _png(w)[:8])), "a.png", REFUSED),
    "JPEG cut off": (_jpeg_cut, "photo.jpg: damaged", REFUSED),
    "DICOM cut off": (lambda w: w.score(_cut(_dicom(w), 0.7)), "scan.dcm", REFUSED),
    "DICOM without pixels": (lambda w: w.score(_dicom(w, pixels=False)), "scan.dcm: a DICOM file", REFUSED),
    "NIfTI cut off": (lambda w: w.score(_cut(_nifti(w, "brain.nii"))), "brain.nii", REFUSED),
    "NIfTI cut off, zipped": (lambda w: w.score(_cut(_nifti(w, "b.nii.gz"))), "b.nii.gz", REFUSED),
    "NIfTI of NaN": (lambda w: w.score(_nifti(w, "b.nii", value=np.nan)), "b.nii: no finite", REFUSED),
    "NIfTI of one value": (lambda w: w.score(_nifti(w, "b.nii", value=3)), "b.nii: every pixel", REFUSED),
    "float image of one value": (_grey, "flat.tif: every pixel", REFUSED),
    "empty file": (lambda w: w.score(w.file("a.png", "")), "a.png: empty file", REFUSED),
    "text named PNG": (lambda w: w.score(w.file("a.png", "hello")), "a.png: not PNG", REFUSED),
    "header of 200,000 x 200,000": (_header_lies, "huge.png: 40,000,000,000 pixels", REFUSED),
    "JPEG named PNG": (lambda w: w.score(_jpeg(w, "photo.png")), "", SCORED),
    "good DICOM": (lambda w: w.score(_dicom(w)), "", SCORED),
    "pile with an empty file": (lambda w: _pile(w, w.file("a.png", "")), "a.png: empty file", SKIPPED),
    "pile with a torn PNG": (lambda w: _pile(w, w.file("a.png", _png(w)[:60])), "a.png", SKIPPED),
    "pile with a DICOM report": (lambda w: _pile(w, _dicom(w, pixels=False)), "scan.dcm", SKIPPED),
    "pile with a NaN volume": (lambda w: _pile(w, _nifti(w, "b.nii", value=np.nan)), "b.nii", SKIPPED),
    "strict pile": (lambda w: [*_pile(w, w.file("a.png", "")), "--strict"], "a.png: empty file", REFUSED),
    "missing image": (lambda w: w.score(w.folder / "no.png"), "no.png: no such file", REFUSED),
    "link to nowhere": (_link_to_nowhere, "gone.png: no such file", REFUSED),
    "folder without images": (_empty_folder, "pile: no image there", REFUSED),
    # Manifests
    "manifest without split": (
        lambda w: w.train(w.file("c.csv", "path,label\na.png,\n")),
        "c.csv, line 1: the column 'split' is missing",
        REFUSED,
    ),
    "manifest with semicolons": (
        lambda w: w.train(w.file("c.csv", "path;split\na.png;healthy\n")),
        "c.csv, line 1: the columns are not separated by commas",
        REFUSED,
    ),
    "wrong split": (lambda w: w.train(w.rows("{0},heathy,,")), "unknown split 'heathy'", REFUSED),
    "wrong label": (lambda w: w.train(w.rows("{0},mixed,sick,")), "unknown label 'sick'", REFUSED),
    "manifest not UTF-8": (
        lambda w: w.train(w.file("c.csv", HEADER.encode() + b"\xe4.png,healthy,,\n")),
        "c.csv: is not UTF-8",
        REFUSED,
    ),
    "listed twice": (lambda w: w.train(w.rows("{0},healthy,,", "{0},mixed,,")), "line 3", REFUSED),
    "listed but missing": (
        lambda w: w.train(w.rows("{0},healthy,,", "gone.png,mixed,,")),
        "gone.png",
        REFUSED,
    ),
    "empty manifest": (lambda w: w.train(w.file("c.csv", "")), "c.csv, line 1", REFUSED),
    "manifest of its header only": (lambda w: w.train(w.rows()), "no image in the split", REFUSED),
    "manifest with a row too short": (lambda w: w.train(w.rows("{0},healthy")), "line 2: 2 cells", REFUSED),
    "manifest with a zero byte": (lambda w: w.train(w.file("c.csv", "path,split\n\0")), "c.csv", REFUSED),
    "patient in two splits": (
        lambda w: w.train(w.rows("{0},healthy,,p7", "{1},mixed,,p7")),
        "patient(s) in two splits: 'p7'",
        REFUSED,
    ),
    "same bytes in two splits": (_same_bytes, "copy.png", REFUSED),
    "diseased in the healthy set": (
        lambda w: w.train(w.rows("{0},healthy,diseased,")),
        "is labelled diseased",
        REFUSED,
    ),
    "no mixed image": (lambda w: w.train(w.rows("{0},healthy,,")), "no image in the split mixed", REFUSED),
    "no readable healthy image": (_broken_healthy_set, "healthy set: none of", REFUSED),
    "strict training": (_strict, "torn.png", REFUSED),
    "cohort that does not exist": (lambda w: w.train(w.folder / "nowhere"), "nowhere: does not", REFUSED),
    "folder without a cohort": (lambda w: w.train(w.folder), "holds no cohort", REFUSED),
    "one split within the other": (_nested, "one lies within the other", REFUSED),
    "no cohort at all": (lambda w: ["inspect"], "--healthy and --mixed not given", REFUSED),
    # Settings
    "unknown setting": (_setting("training.iteration=3"), "did you mean 'iterations'", REFUSED),
    "unknown section": (_setting("trainig.seed=3"), "did you mean 'training'", REFUSED),
    "setting of a wrong type": (_setting("training.iterations=many"), "training.iterations='many'", REFUSED),
    "setting out of range": (_setting("training.batch_size=0"), "training.batch_size=0", REFUSED),
    "setting without =": (_setting("training.seed"), "--set training.seed: no name or no value", REFUSED),
    "size no multiple of 4": (_setting("preprocessing.size=18"), "not a multiple of 4", REFUSED),
    "slices that descend": (_setting("preprocessing.reader.slice_range=[0.7, 0.3]"), "must ascend", REFUSED),
    "section made a value": (_setting("training=3"), "training=3", REFUSED),
    "configuration not YAML": (_config("a: [1, 2"), "mine.yaml: not YAML", REFUSED),
    "configuration not text": (_config(b"\xff\xfe\x00"), "mine.yaml: cannot be read as text", REFUSED),
    "configuration a list": (_config("- 1\n"), "mine.yaml: holds a list", REFUSED),
    "unknown preset": (
        lambda w: ["train", str(w.manifest), "--run", str(w.folder / "new"), "--preset", "smal"],
        "did you mean 'small'",
        REFUSED,
    ),
    # Run folders
    "run that does not exist": (lambda w: w.score(run=w.folder / "nowhere"), "nowhere: not a", REFUSED),
    "run not finished": (_unfinished, "run: not a finished run", REFUSED),
    "model that runs code": (_bare_bomb, "model.pt: damaged", REFUSED),
    "model that runs code, zipped": (_zipped_bomb, "model.pt: damaged", REFUSED),
    "checkpoint that runs code": (_checkpoint_bomb, "checkpoint.pt: damaged", REFUSED),
    "candidate that runs code": (_candidate_bomb, "iteration_00000004.pt: damaged", REFUSED),
    "checkpoint of something else": (_checkpoint_of_another, "checkpoint.pt: does not fit", REFUSED),
    "model cut off": (_model_cut, "model.pt: damaged", REFUSED),
    "model missing": (_model_gone, "model.pt: no such file", REFUSED),
    "model that is a list": (_model_is_a_list, "model.pt: holds a list", REFUSED),
    "model of another size": (_model_of_another_size, "model.pt: does not fit", REFUSED),
    "model of NaN": (lambda w: w.score(run=_model_of_nan(w)), "the model is damaged", REFUSED),
    "model of NaN, judged": (lambda w: w.evaluate(_model_of_nan(w)), "model.pt: gives scores", REFUSED),
    "decision cut off": (_file_of_run("decision.json", '{"iter'), "decision.json: damaged", REFUSED),
    "decision of other fields": (_file_of_run("decision.json", "{}"), "decision.json: damaged", REFUSED),
    "run's settings damaged": (_file_of_run("config.yaml", "a: ["), "config.yaml: not YAML", REFUSED),
    "run without its cohort": (_evaluate_without("cohort.csv"), "cohort.csv: cannot be read", REFUSED),
    "run's images moved": (_moved_cohort, "test_moved.png", REFUSED),
    "folder of something else": (_foreign_folder, "new: not empty and not a run folder", REFUSED),
    "run of another configuration": (_run_of_another_configuration, "another configuration", REFUSED),
    "run folder that is a file": (_run_is_a_file, "new", REFUSED),
    "resuming no run": (lambda w: ["train", "--resume", str(w.folder)], "not a run folder", REFUSED),
    "resuming with a changed setting": (
        _resume_with("--set", "training.seed=9"),
        "another configuration",
        REFUSED,
    ),
    "resuming with a cohort": (_resume_with("--mixed", "x"), "--mixed: not together", REFUSED),
    "resuming and a new run": (_resume_with("--run", "x"), "--run: not together", REFUSED),
    "training nowhere": (lambda w: ["train", str(w.manifest)], "--run: missing", REFUSED),
    # Output and machine
    "partial list damaged": (_partial_list_damaged, "scores.partial.csv: damaged", REFUSED),
    "output below a file": (_output_below_a_file, "cannot be written", REFUSED),
    "contact sheet below a file": (_inspect_below_a_file, "sheet.png: cannot be written", REFUSED),
    "output of another model": (_output_of_another_model, "out: holds scores of another model", REFUSED),
    "disk full at the end": (_disk_full("fsync", World.score), "No space left", REFUSED),
    "disk full in between": (_disk_full_between, "No space left", REFUSED),
    "disk full in training": (_disk_full("replace", World.train), "No space left", REFUSED),
    "output in place of a file": (_output_in_place_of_a_file, "out is a file, not a folder", REFUSED),
    "run in place of a file": (_run_in_place_of_a_file, "new: is a file, not a folder", REFUSED),
    "preset beside resume": (_beside_resume("--preset", "demo"), "--preset: not together with --resume", REFUSED),
    "config beside resume": (_beside_resume("--config", "demo"), "--config: not together with --resume", REFUSED),
    "preset beside config": (_preset_beside_config, "--preset: not together with --config", REFUSED),
    "resumed without its cohort": (_resumed_without_cohort, "repeat the command with --run", REFUSED),
    "brackets in the output": (_brackets_in_the_output, "", SCORED),
    "settings that explode": (_settings_that_explode, "more than 10,000 values with its aliases", REFUSED),
    "cache below a file": (_cache_below_a_file, "set HEALTHYGAN_CACHE", REFUSED),
    "scoring without CUDA": (_score_without_cuda, "--device cuda: there is no such device", REFUSED),
    "training without CUDA": (_train_without_cuda, "training.device=cuda", REFUSED),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_in_one_line(name: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    prepare, culprit, outcome = CASES[name]
    code = main(prepare(world))
    world.patch.undo()
    shown = capfd.readouterr()
    lines = shown.err.strip().splitlines()
    assert "Traceback" not in shown.out + shown.err
    assert not world.marker.exists()
    if outcome is Outcome.REFUSED:
        assert code == 2
        assert lines[-1].startswith("healthygan ") and culprit in lines[-1]
        assert all(PROGRESS.fullmatch(line) for line in lines[:-1]), lines
        return
    assert code == 0
    assert all(PROGRESS.fullmatch(line) for line in lines), lines
    failures = world.output / "failures.txt"
    if outcome is Outcome.SKIPPED:
        assert culprit in failures.read_text() and len(failures.read_text().splitlines()) == 1
        assert "1 files could not be read" in shown.out
    else:
        assert not failures.exists()


def test_the_bomb_would_go_off(tmp_path: Path) -> None:
    """Else the cases above would prove nothing."""
    marker = tmp_path / "gone off"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()


def test_what_stood_in_a_foreign_folder_is_still_there(world: World) -> None:
    assert main(_foreign_folder(world)) == 2
    assert [path.name for path in (world.folder / "new").iterdir()] == ["thesis.txt"]
