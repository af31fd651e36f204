"""COVIDx 7B, section 3 of the paper, from its lists and images; later lists by the same rules.

The lists (``patient filename class source``, no header) are those of https://github.com/lindawangg/COVID-Net; they say
how to gather the images from their five collections, and https://www.kaggle.com/datasets/andyczhao/covidx-cxr2 holds
them gathered. The official split is the one of the paper's public code: file names, their split and label.
"""

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from healthygan.common.errors import Argument, InputError
from healthygan.common.messages import shorten_list
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Label, Split
from healthygan.data.datasets.images import find_images
from healthygan.data.datasets.prepared import Prepared, find_joined, finish, joined_steps, shortfall_warnings
from healthygan.data.datasets.split import Amounts, Record, draw, resolve
from healthygan.data.datasets.text import read_text

OFFICIAL = "7B"
COUNTS = {
    (Split.HEALTHY, Label.HEALTHY): 10_031,
    (Split.MIXED, Label.HEALTHY): 3_663,
    (Split.MIXED, Label.DISEASED): 1_570,
    (Split.TEST, Label.HEALTHY): 100,
    (Split.TEST, Label.DISEASED): 100,
}
"""Of the paper, section 3."""
LABELS = {
    "negative": Label.HEALTHY,
    "normal": Label.HEALTHY,
    "pneumonia": Label.HEALTHY,
    "positive": Label.DISEASED,
    "covid-19": Label.DISEASED,
}
"""By class. Pneumonia that is not COVID-19 counts as healthy in the two-class lists, and so in the paper."""
PNEUMONIA, ABSENT = "pneumonia", "absent"
ROWS = {
    (13_569, 231): "2",
    (13_670, 300): "3",
    (13_898, 300): "4",
    (13_958, 300): "5",
    (14_311, 200): "6",
    (15_111, 300): "7A",
    (15_464, 200): "7B",
    (15_599, 400): "8A",
    (15_952, 400): "8B",
    (30_130, 400): "9A",
    (30_482, 400): "9B",
}
"""Version by lines of the training and of the test list, as published: tells a renamed list."""
LIST_NAME = re.compile(r"(train|test|val)(?:[_-]?COVIDx[_-]?(.*?))?\.txt(?:\.gz)?", re.IGNORECASE)
WHERE = (
    "the lists are published in labels/ of https://github.com/lindawangg/COVID-Net, the gathered images as "
    "kaggle.com/datasets/andyczhao/covidx-cxr2; expected are train_COVIDx7B.txt and test_COVIDx7B.txt in one folder "
    "and the images, in any subfolders, in another"
)


@dataclass(frozen=True)
class Lists:
    """One version's lists, read together."""

    version: str
    records: tuple[Record, ...]
    listed_twice: tuple[str, ...]


def prepare_covidx(
    images: Path,
    lists: Path,
    manifest: Path,
    *,
    official: bool = True,
    version: str | None = None,
    amounts: Amounts | None = None,
    seed: int = 0,
    stratify: bool = False,
    keep_apart: bool = False,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> Prepared:
    """Write the manifest of the paper's COVIDx experiment.

    Args:
        images: the folder with all images, in any subfolders.
        lists: the folder with the lists; a three-class list of the same version tells what "healthy" hides.
        manifest: the .csv to write.
        official: the split of the paper's public code; else draw anew, patients kept apart.
        version: of the lists, where there are several; by default 7B if it is there.
        amounts: images to draw; by default the paper's.
        stratify: draw from each source alike.
        keep_apart: of the official split leave out the training images of patients who are in two splits.

    Raises:
        InputError: lists or images are missing or do not fit.
    """
    read = read_lists(lists, version, OFFICIAL if official else None)
    three_classes = _three_classes(lists, read.version)
    records = [_with_finding(record, three_classes) for record in read.records]
    steps = [f"lists: COVIDx {read.version}, {len(records):,} images"]
    warnings: list[str] = []
    files = find_images([images])
    if official:
        splits = _official(read, lists)
        steps.append(f"split: official, {len(splits):,} file names of the paper's public code")
        if keep_apart:
            splits, left_out = _apart(records, splits)
            steps.append(f"left out: {left_out} training images of patients who are in two splits")
    else:
        joined = find_joined(records, files, progress)
        drawn = draw(records, resolve(amounts or COUNTS, records), seed, stratify=stratify, joined=joined)
        splits = dict(drawn.splits)
        warnings += shortfall_warnings(drawn)
        steps += joined_steps(joined)
        steps.append(f"split: drawn with seed {seed}, patients kept apart{', each source alike' if stratify else ''}")
    steps.append(f"in no split: {len(records) - len(splits):,} of the listed images")
    warnings += _hidden_pneumonia(records, splits, three_classes)
    return finish(
        "covidx",
        records,
        splits,
        files,
        manifest,
        steps=steps,
        warnings=warnings,
        listed_twice=read.listed_twice,
        allow_missing=allow_missing,
        advice=f"correct the folder of images ({WHERE})",
        preset="covidx",
    )


def read_lists(folder: Path, version: str | None = None, needed: str | None = None) -> Lists:
    """Read the lists of one version in ``folder``.

    Args:
        version: which, where there are several; by default 7B.
        needed: the only version that will do.

    Raises:
        InputError: no lists, another version than ``needed``, or a line that is none of a list.
    """
    versions = _versions(folder)
    if not versions:
        raise InputError(f"{folder}: no COVIDx list there; {WHERE}")
    binary = [name for name in versions if not name.upper().endswith("A")]
    name = version or (OFFICIAL if OFFICIAL in versions else binary[0] if len(binary) == 1 else "")
    if name not in versions:
        raise InputError(
            Argument("version", name or None),
            f": {folder} holds the lists of COVIDx {', '.join(sorted(versions))}; choose one",
        )
    lines = {part: _read_list(path) for part, path in versions[name].items()}
    if missing := {"train", "test"} - lines.keys():
        raise InputError(f"{folder}: of COVIDx {name} the {' and '.join(sorted(missing))} list is missing; {WHERE}")
    actual = ROWS.get((len(lines["train"]), len(lines["test"])), name)
    if actual != name and name:
        raise InputError(f"{folder}: the lists are named {name} but have the lines of COVIDx {actual}; mend the names")
    if needed is not None and actual != needed:
        raise InputError(
            f"{folder}: these are the lists of COVIDx {actual or '(unknown version)'}, and the official split is of "
            f"{needed}; get those ({WHERE}) or have a split drawn anew"
        )
    return _merged(actual, [record for records in lines.values() for record in records])


def _versions(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by version and part."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; {WHERE}")
    lists: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := LIST_NAME.fullmatch(path.name):
            part, version = match[1].lower(), (match[2] or "").upper()
            if part in lists.setdefault(version, {}):
                raise InputError(f"{path}: the same list as {lists[version][part].name}; keep one of the two")
            lists[version][part] = path
    return lists


def _read_list(path: Path) -> list[Record]:
    """Parse from the right: patients may have blanks in their names ("COVID 12")."""
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        # Some lists tell no source of some images.
        place = next((at for at in (-2, -1) if len(words) > 2 - at - 1 and words[at].lower() in LABELS), None)
        if place is None or len(words) + place < 2:
            raise InputError(
                f"{path}, line {number}: {line[:80]!r} is not 'patient filename class source' with a class of "
                f"{', '.join(LABELS)}; give a list of COVIDx"
            )
        source = words[-1] if place == -2 else None
        name, patient = words[place - 1], " ".join(words[: place - 1])
        records.append(
            Record(
                name=name,
                label=LABELS[words[place].lower()],
                # Sources number their patients alike.
                patient=f"{source}:{patient}" if source else patient,
                source=source,
                more={"class": words[place].lower()},
            )
        )
    return records


def _merged(version: str, records: Sequence[Record]) -> Lists:
    """One record a name; refuses a name that is listed with different facts."""
    by_name: dict[str, Record] = {}
    twice: list[str] = []
    conflicting: list[str] = []
    for record in records:
        first = by_name.setdefault(record.name, record)
        if first is not record:
            (twice if first == record else conflicting).append(record.name)
    if conflicting:
        raise InputError(
            f"COVIDx {version}: {len(conflicting)} image(s) listed twice with different facts: "
            f"{shorten_list(conflicting)}; keep the right line of each"
        )
    return Lists(version, tuple(by_name.values()), tuple(twice))


def official_sources() -> dict[str, tuple[Split, Label, str]]:
    """Split, label and source of the 15,464 file names of the paper's public code."""
    packed = (package_files("healthygan.data.datasets") / "covidx7b_official.csv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode()))
    return {row["filename"]: (Split(row["split"]), Label(row["label"]), row["source"]) for row in rows}


def _official(read: Lists, folder: Path) -> dict[str, Split]:
    known = {record.name: record.label for record in read.records}
    official = official_sources()
    unknown = [name for name, (_, label, _) in official.items() if known.get(name) is not label]
    if unknown:
        raise InputError(
            f"{folder}: {len(unknown):,} image(s) of the official split are not in the lists, or with another class: "
            f"{shorten_list(sorted(unknown))}; get the lists anew ({WHERE})"
        )
    return {name: split for name, (split, _, _) in official.items()}


def _apart(records: Sequence[Record], splits: Mapping[str, Split]) -> tuple[dict[str, Split], int]:
    """Without the healthy-set images of patients who are elsewhere too, then without mixed ones of the test set's."""
    places: dict[str | None, set[Split]] = {}
    patients = {record.name: record.patient for record in records}
    for name, split in splits.items():
        places.setdefault(patients[name], set()).add(split)
    last = {patient: max(where, key=list(Split).index) for patient, where in places.items()}
    kept = {name: split for name, split in splits.items() if last[patients[name]] is split}
    return kept, len(splits) - len(kept)


def _three_classes(folder: Path, version: str) -> dict[str, str] | None:
    """Class of each image in the three-class list of the same version; none where it is not in the folder."""
    versions = _versions(folder)
    name = version[:-1] + "A" if version.endswith("B") else ""
    if name not in versions:
        return None
    return {record.name: record.more["class"] for path in versions[name].values() for record in _read_list(path)}


def _with_finding(record: Record, classes: Mapping[str, str] | None) -> Record:
    if classes is None:
        return record
    more = {**record.more, "three_class": classes.get(record.name, ABSENT)}
    return Record(record.name, record.label, record.patient, record.source, more)


def _hidden_pneumonia(
    records: Sequence[Record], splits: Mapping[str, Split], classes: Mapping[str, str] | None
) -> list[str]:
    own = {record.more["class"] for record in records}
    if classes is None and PNEUMONIA not in own:
        return [
            "how many 'healthy' images carry non-COVID pneumonia is not known: the three-class list "
            "(such as train_COVIDx7A.txt) is not in the folder of lists"
        ]
    key = "class" if classes is None else "three_class"
    counts = Counter(
        (splits[record.name], record.more[key])
        for record in records
        if record.name in splits and record.label is Label.HEALTHY
    )
    warnings = []
    for split in Split:
        total = sum(count for (where, _), count in counts.items() if where is split)
        if total:
            absent = f", {counts[split, ABSENT]:,} are not in the three-class list" if counts[split, ABSENT] else ""
            warnings.append(
                f"{split}: of {total:,} 'healthy' images {counts[split, PNEUMONIA]:,} carry non-COVID pneumonia{absent}"
            )
    return warnings
