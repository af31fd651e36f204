"""A cohort judged by images that it does not hold: its own training images, and all others of the published data set.

    python benchmarks/outside.py COHORT HEALTHY_DIR DISEASED_DIR -o OUT [--patient-pattern "(IM-\\d+|person\\d+)"]
        [--masks DIR]

The folders hold the data set as it is published. Training, validation and mixed images of the cohort
are looked up there by name, so that all come from the same files; the test set is what is left: images of patients of
whom the cohort has none, in no split. Files of equal content are taken once. Lesion masks of the same names come along.
Writes OUT/manifest.csv, for `healthygan train OUT/manifest.csv` or `cohorts.py`, and says what it left out.
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from healthygan import load_cohort
from healthygan.common.files import content_hash
from healthygan.data.cohort import Cohort, Label, Split


@dataclass(frozen=True)
class Published:
    """An image as it is published."""

    path: Path
    label: Label
    patient: str


def main() -> None:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("diseased", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--patient-pattern", default="(.+)", help="its first group names the patient in a file's name")
    options = parser.parse_args()
    pattern = re.compile(options.patient_pattern)
    published = {
        name_of(path): Published(path.resolve(), label, patient_of(path, pattern))
        for folder, label in ((options.healthy, Label.HEALTHY), (options.diseased, Label.DISEASED))
        for path in sorted(folder.iterdir())
    }
    options.output.mkdir(parents=True, exist_ok=True)
    masks = {name_of(path): path.resolve() for path in options.masks.iterdir()} if options.masks else {}
    rows = [
        (str(one.path), one.patient, split, label, str(masks.get(name_of(one.path), "")))
        for one, split, label in kept(load_cohort(options.cohort), published, pattern)
    ]
    with (options.output / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "patient_id", "split", "label", "mask"), *rows])
    for (split, label, masked), count in sorted(Counter((*row[2:4], bool(row[4])) for row in rows).items()):
        print(f"{split}, {label}{', with a mask' if masked else ''}: {count}")


def name_of(path: Path) -> str:
    """What an image is called whatever its format and however its name is spaced."""
    return path.stem.replace(" ", "_").casefold()


def patient_of(path: Path, pattern: re.Pattern[str]) -> str:
    """The patient in a file's name."""
    found = pattern.search(path.stem.replace(" ", "_"))
    if found is None:
        raise SystemExit(f"{path}: --patient-pattern finds no patient in its name")
    return found.group(1)


def kept(
    cohort: Cohort, published: dict[str, Published], pattern: re.Pattern[str]
) -> Iterator[tuple[Published, str, str]]:
    """Images with their split, and their label where it may be told."""
    known = {patient_of(image.path, pattern) for image in cohort.images}
    lost, seen = 0, set()
    for image in cohort.images:
        found = published.get(name_of(image.path))
        if found is None:
            lost += image.split is not Split.TEST
            continue
        seen.add(content_hash(found.path))
        if image.split is not Split.TEST:
            yield found, image.split.value, image.label.value if image.label else ""
    for one in published.values():
        if one.patient in known or (content := content_hash(one.path)) in seen:
            continue
        seen.add(content)
        yield one, Split.TEST.value, one.label.value
    print(f"{lost} training images of the cohort are not among the published ones and are left out")


if __name__ == "__main__":
    main()
