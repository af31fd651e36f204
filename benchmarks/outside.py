"""A cohort judged by images that it does not hold: its own training images, and all others of the published data set.

    python benchmarks/outside.py COHORT HEALTHY_DIR DISEASED_DIR -o OUT [--patient-pattern "(IM-\\d+|person\\d+)"]

The folders hold the data set as it is published. Training, validation and mixed images of the cohort
are looked up there by name, so that all come from the same files; the test set is what is left: images of patients of
whom the cohort has none, in no split. Files of equal content are taken once. Writes OUT/manifest.csv, for
`healthygan train OUT/manifest.csv` or `cohorts.py`, and says what it left out.
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from healthygan import load_cohort
from healthygan.data.cohort import Cohort, CohortImage, Label, Split
from healthygan.files import content_hash


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
    parser.add_argument("--patient-pattern", default="(.+)", help="its first group names the patient in a file's name")
    options = parser.parse_args()
    pattern = re.compile(options.patient_pattern)
    published = {
        name_of(path): Published(path.resolve(), label, patient_of(path, pattern))
        for folder, label in ((options.healthy, Label.HEALTHY), (options.diseased, Label.DISEASED))
        for path in sorted(folder.iterdir())
    }
    rows = [*kept(load_cohort(options.cohort), published, pattern)]
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "patient_id", "split", "label"), *rows])
    for (split, label), count in sorted(Counter(row[2:] for row in rows).items()):
        print(f"{split}, {label}: {count}")


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
) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the manifest."""
    known = {patient_of(image.path, pattern) for image in cohort.images}
    lost, seen = 0, set()
    for image in cohort.images:
        found = published.get(name_of(image.path))
        if found is None:
            lost += image.split is not Split.TEST
            continue
        seen.add(content_hash(found.path))
        if image.split is not Split.TEST:
            yield row(found, image)
    for one in published.values():
        if one.patient in known or (content := content_hash(one.path)) in seen:
            continue
        seen.add(content)
        yield str(one.path), one.patient, Split.TEST.value, one.label.value
    print(f"{lost} training images of the cohort are not among the published ones and are left out")


def row(found: Published, image: CohortImage) -> tuple[str, str, str, str]:
    """A training image: where it is published, its part in the cohort, and its label where the cohort tells one."""
    return str(found.path), found.patient, image.split.value, image.label.value if image.label else ""


if __name__ == "__main__":
    main()
