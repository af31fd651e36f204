"""NIH ChestX-ray14, section 3 of the paper, from ``Data_Entry_2017_v2020.csv`` and the images.

Published by the NIH Clinical Center (Wang et al., 2017): https://nihcc.app.box.com/v/ChestXray-NIHCC.
"""

from collections.abc import Sequence
from pathlib import Path

from healthygan.common.errors import InputError
from healthygan.common.messages import shorten_list
from healthygan.data.cohort import Label, Split
from healthygan.data.datasets.images import find_images, repeated
from healthygan.data.datasets.prepared import Prepared, finish, shortfall_warnings
from healthygan.data.datasets.split import Amounts, Record, draw, resolve
from healthygan.data.datasets.text import read_table, read_text

COUNTS = {
    (Split.HEALTHY, Label.HEALTHY): 10_000,
    (Split.MIXED, Label.HEALTHY): 5_000,
    (Split.MIXED, Label.DISEASED): 3_195,
    (Split.VALIDATION, Label.HEALTHY): 4_000,
    (Split.VALIDATION, Label.DISEASED): 4_000,
    (Split.TEST, Label.HEALTHY): 10_000,
    (Split.TEST, Label.DISEASED): 10_000,
}
"""Of the paper, section 3."""
ROWS = 112_120
DISEASES = frozenset(
    {
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Hernia",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pleural_Thickening",
        "Pneumonia",
        "Pneumothorax",
    }
)
NO_FINDING = "No Finding"
NAME, FINDINGS, PATIENT, VIEW = COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
ALSO = {"Patient Age": "age", "Patient Gender": "sex", "Follow-up #": "follow_up"}
"""Kept in the manifest, for controls."""
WHERE = (
    "images and Data_Entry_2017_v2020.csv are published at nihcc.app.box.com/v/ChestXray-NIHCC; expected is a folder "
    "with the unpacked images_001 to images_012 (or images/) in it"
)


def prepare_chestxray14(
    images: Sequence[Path],
    metadata: Path,
    manifest: Path,
    *,
    amounts: Amounts | None = None,
    seed: int = 0,
    by_patient: bool = True,
    allow_missing: bool = False,
) -> Prepared:
    """Write the manifest of the paper's ChestX-ray14 experiment: PA views with no finding or exactly one disease.

    Args:
        images: folders with the images, in any subfolders.
        metadata: the published table, packed or not.
        manifest: the .csv to write.
        amounts: images to draw; by default the paper's.
        by_patient: keep patients within one split; the paper does not say whether it did.

    Raises:
        InputError: table or images are missing or do not fit.
    """
    table = list(read_table(metadata, COLUMNS))
    if twice := repeated(row[NAME] for row in table):
        raise InputError(
            f"{metadata}: {len(twice)} image(s) listed twice: {shorten_list(sorted(twice))}; keep one row of each"
        )
    records = [_record(metadata, row) for row in table]
    usable = [record for record in records if record.label is not None]
    drawn = draw(usable, resolve(amounts or COUNTS, usable), seed, by_patient=by_patient)
    seen = sum(row[VIEW].strip() == "PA" for row in table)
    healthy = sum(record.label is Label.HEALTHY for record in usable)
    steps = [
        f"{version(metadata)}: {len(table):,} images, {seen:,} of them PA views",
        f"of these {healthy:,} have no finding and {len(usable) - healthy:,} exactly one disease",
        f"drawn with seed {seed}, " + ("patients kept apart" if by_patient else "image by image"),
    ]
    warnings = shortfall_warnings(drawn)
    if len(table) != ROWS:
        warnings.append(f"{metadata}: {len(table):,} rows where {ROWS:,} are published; this is not the whole set")
    return finish(
        "chestxray14",
        records,
        drawn.splits,
        find_images(images),
        manifest,
        steps=steps,
        warnings=warnings,
        allow_missing=allow_missing,
        advice=f"correct the folder of images ({WHERE})",
        preset="chestxray14",
    )


def version(metadata: Path) -> str:
    """Which of the published tables it is: the first one ended its header with a comma."""
    header = read_text(metadata).partition("\n")[0].rstrip()
    return "Data_Entry_2017 (first version)" if header.endswith(",") else "Data_Entry_2017_v2020"


def _record(metadata: Path, row: dict[str, str]) -> Record:
    """Labelled if it is a PA view with no finding or one disease."""
    findings = row[FINDINGS].strip().split("|")
    if unknown := set(findings) - DISEASES - {NO_FINDING}:
        raise InputError(
            f"{metadata}: {row[NAME]} has the finding {sorted(unknown)[0]!r}, which ChestX-ray14 does not know; "
            f"give the table as it is published ({WHERE})"
        )
    label = Label.HEALTHY if findings == [NO_FINDING] else Label.DISEASED
    if row[VIEW].strip() != "PA" or len(findings) > 1:
        return Record(row[NAME].strip(), None)
    return Record(
        name=row[NAME].strip(),
        label=label,
        patient=row[PATIENT].strip(),
        more={"finding": findings[0]} | {short: row[name].strip() for name, short in ALSO.items() if row.get(name)},
    )
