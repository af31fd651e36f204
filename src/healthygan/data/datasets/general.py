"""Any other data set: from folders by label, or from a table with rules that tell the labels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from healthygan.common.errors import Argument, InputError
from healthygan.common.messages import shorten_list
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Label
from healthygan.data.datasets.images import find_images, repeated
from healthygan.data.datasets.prepared import Prepared, find_joined, finish, joined_steps, shortfall_warnings
from healthygan.data.datasets.rules import Rule, check_rule
from healthygan.data.datasets.split import ORDINARY, Amounts, Record, draw, resolve
from healthygan.data.datasets.text import compile_pattern, first_group, read_table
from healthygan.data.folders import image_files
from healthygan.data.manifest import COLUMNS


@dataclass(frozen=True)
class Plan:
    """How to split: seeded, patients kept apart unless told otherwise."""

    amounts: Amounts | None = None
    """By default half of the healthy images known as such, and the rest shared out (``split.ORDINARY``)."""
    seed: int = 0
    by_patient: bool = True
    stratify: bool = False


@dataclass(frozen=True)
class Columns:
    """Which column of a table tells what."""

    path: str = "path"
    patient: str | None = None
    source: str | None = None
    also: tuple[str, ...] = ()
    """Kept in the manifest, for controls."""


def prepare_folders(
    healthy: Sequence[Path],
    diseased: Sequence[Path],
    manifest: Path,
    *,
    unlabelled: Sequence[Path] = (),
    patient: str | None = None,
    source: str | None = None,
    plan: Plan | None = None,
    progress: Progress = silent,
) -> Prepared:
    """Write a manifest from folders whose images have one label each.

    Args:
        healthy, diseased: folders with the images of that label.
        manifest: the .csv to write.
        unlabelled: folders whose images are all for the mixed set.
        patient: a regular expression whose first group, in an image's path below its folder, is the patient.
        source: likewise; without it each folder's name is its images' source where a label has several folders.

    Raises:
        InputError: a folder is missing or empty, or an expression fits no path.
    """
    plan = plan or Plan()
    patterns = {name: compile_pattern(name, text) for name, text in (("patient", patient), ("source", source))}
    given: list[tuple[Label | None, Path]] = [
        *((Label.HEALTHY, folder) for folder in healthy),
        *((Label.DISEASED, folder) for folder in diseased),
        *((None, folder) for folder in unlabelled),
    ]
    files: dict[str, list[str]] = {}
    records = []
    for label, folder in given:
        found = _images(folder)
        for path in found:
            inner = path.relative_to(folder.absolute()).as_posix()
            name = f"{label or 'unlabelled'}/{folder.name}/{inner}"
            if name in files:
                raise InputError(f"{folder}: two folders of one label are called {folder.name}; rename one")
            files[name] = [str(path)]
            facts = {what: first_group(pattern, inner) for what, pattern in patterns.items()}
            records.append(Record(name, label, facts["patient"], facts["source"]))
    for what, pattern in patterns.items():
        if pattern is not None and not any(getattr(record, what) for record in records):
            raise InputError(Argument(what, pattern.pattern), f": fits none of {len(records)} paths; correct it")
    _refuse_shared(files)
    steps = [f"folders: {_labels(records)}"]
    return _drawn("folders", records, files, manifest, plan, steps, progress=progress)


def prepare_table(
    table: Path,
    images: Sequence[Path],
    manifest: Path,
    *,
    healthy: Rule,
    diseased: Rule,
    keep: Rule | None = None,
    columns: Columns | None = None,
    rest_to_mixed: bool = False,
    plan: Plan | None = None,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> Prepared:
    """Write a manifest from a comma-separated table, one row an image.

    Args:
        table: plain or gzip.
        images: folders with the images; rows name files by path below one of them, or by name alone.
        manifest: the .csv to write.
        healthy, diseased: which rows have that label; one that has both is refused.
        keep: which rows to look at; by default all.
        columns: which column tells what.
        rest_to_mixed: rows with neither label go to the mixed set; else they are left out.

    Raises:
        InputError: the table or a rule cannot be used, or images are missing.
    """
    plan, columns = plan or Plan(), columns or Columns()
    if taken := set(columns.also) & set(COLUMNS):
        raise InputError(
            Argument("also", sorted(taken)[0]),
            ": the manifest has a column of that name; use ",
            Argument("source"),
            " or ",
            Argument("patient"),
        )
    wanted = [name for name in (columns.path, columns.patient, columns.source, *columns.also) if name]
    rows = list(read_table(table, wanted))
    if not rows:
        raise InputError(f"{table}: has no rows; give a table with one row an image")
    for rule in (healthy, diseased, *((keep,) if keep else ())):
        check_rule(rule, rows[0].keys())
    kept = [row for row in rows if keep is None or keep(row)]
    if twice := repeated(row[columns.path].strip() for row in kept):
        raise InputError(
            f"{table}: {len(twice)} image(s) listed twice: {shorten_list(sorted(twice))}; keep one row of each"
        )
    records, unclear = [], 0
    for row in kept:
        label = _label(row, healthy, diseased, columns.path)
        unclear += label is None
        if label is not None or rest_to_mixed:
            records.append(_record(row, label, columns))
    steps = [
        f"{table.name}: {len(rows):,} rows, {len(kept):,} kept{f' by {keep.text}' if keep else ''}",
        f"healthy by {healthy.text}, diseased by {diseased.text}: {_labels(records)}",
        f"neither: {unclear:,} rows, {'in the mixed set' if rest_to_mixed else 'left out'}",
    ]
    files = _located(records, find_images(images), images)
    known = [_record(row, None, columns) for row in rows]
    return _drawn("table", records, files, manifest, plan, steps, allow_missing, known, progress)


def _drawn(
    protocol: str,
    records: Sequence[Record],
    files: Mapping[str, Sequence[str]],
    manifest: Path,
    plan: Plan,
    steps: Iterable[str],
    allow_missing: bool = False,
    known: Sequence[Record] = (),
    progress: Progress = silent,
) -> Prepared:
    if plan.stratify and not any(record.source for record in records):
        raise InputError(
            Argument("stratify"), ": no image has a source; tell where it comes from with ", Argument("source")
        )
    joined = find_joined(records, files, progress) if plan.by_patient else []
    drawn = draw(
        records,
        resolve(plan.amounts or ORDINARY, records),
        plan.seed,
        by_patient=plan.by_patient,
        stratify=plan.stratify,
        joined=joined,
    )
    units = "patients kept apart" if plan.by_patient else "image by image"
    warnings = shortfall_warnings(drawn)
    nameless = sum(record.patient is None for record in records)
    if nameless and plan.by_patient:
        warnings.append(f"{nameless:,} images have no patient and count as patients of their own; tell them if you can")
    listed = {record.name for record in records}
    return finish(
        protocol,
        [*records, *(record for record in known if record.name not in listed)],
        drawn.splits,
        files,
        manifest,
        steps=[
            *steps,
            f"drawn with seed {plan.seed}, {units}{', each source alike' if plan.stratify else ''}",
            *joined_steps(joined),
            f"in no split: {len(records) - len(drawn.splits):,} labelled images",
        ],
        warnings=warnings,
        allow_missing=allow_missing,
    )


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder that holds the images")
    found = image_files(folder.absolute())
    if not found:
        raise InputError(f"{folder}: holds no image file; give another folder")
    return found


def _refuse_shared(files: Mapping[str, Sequence[str]]) -> None:
    seen: dict[Path, str] = {}
    for name, (path,) in files.items():
        if (first := seen.setdefault(Path(path).resolve(), name)) != name:
            raise InputError(f"{path}: is both {first} and {name}; give folders that share no file")


def _label(row: Mapping[str, str], healthy: Rule, diseased: Rule, path: str) -> Label | None:
    well, ill = healthy(row), diseased(row)
    if well and ill:
        raise InputError(
            f"{row[path]}: both rules hold, {healthy.text} and {diseased.text}; make them exclude each other"
        )
    return Label.HEALTHY if well else Label.DISEASED if ill else None


def _record(row: Mapping[str, str], label: Label | None, columns: Columns) -> Record:
    def cell(name: str | None) -> str | None:
        return row[name].strip() or None if name else None

    more = {name: row[name].strip() for name in columns.also if row[name].strip()}
    return Record(row[columns.path].strip(), label, cell(columns.patient), cell(columns.source), more)


def _located(
    records: Sequence[Record], found: Mapping[str, Sequence[str]], folders: Sequence[Path]
) -> dict[str, Sequence[str]]:
    """Files by the name in the table: below a folder if it is a path, else wherever a file has that name."""
    inside = {path for paths in found.values() for path in paths}
    files: dict[str, Sequence[str]] = {}
    for record in records:
        places = [str(folder.absolute() / record.name) for folder in folders]
        if here := [place for place in places if place in inside]:
            files[record.name] = here
        elif "/" not in record.name and record.name in found:
            files[record.name] = found[record.name]
    used = {path for paths in files.values() for path in paths}
    others = {Path(path).name: [path] for path in sorted(inside - used)}
    return files | {name: paths for name, paths in others.items() if name not in files}


def _labels(records: Sequence[Record]) -> str:
    counts = Counter(record.label for record in records)
    unlabelled = f", {counts[None]:,} unlabelled" if counts[None] else ""
    return f"{counts[Label.HEALTHY]:,} healthy, {counts[Label.DISEASED]:,} diseased{unlabelled}"
