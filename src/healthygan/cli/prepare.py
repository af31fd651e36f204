"""``healthygan prepare``: from a data set as it is published to a manifest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from healthygan.cli.progress import shown
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from healthygan.data.datasets.prepared import Prepared


def prepare(options: argparse.Namespace, console: Console) -> None:
    """Run the protocol that was named."""
    from healthygan.cli.tables.prepared import print_prepared

    print_prepared(PROTOCOLS[options.protocol](options), console)


def _covidx(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.covidx import prepare_covidx
    from healthygan.data.datasets.split import parse_amounts

    official = options.split == "official"
    drawing = {"--counts": options.counts, "--seed": options.seed is not None, "--stratify": options.stratify}
    if official and any(drawing.values()):
        named = next(name for name, given in drawing.items() if given)
        raise InputError(f"{named}: the official split is fixed; leave it out or draw anew with --split redraw")
    if options.drop_torn and not official:
        raise InputError("--drop-torn: a redraw keeps patients apart anyway; leave it out")
    return prepare_covidx(
        options.images,
        options.lists,
        options.output,
        official=official,
        version=options.list_version,
        amounts=parse_amounts(options.counts) or None,
        seed=options.seed or 0,
        stratify=options.stratify,
        keep_apart=options.drop_torn,
        allow_missing=options.allow_missing,
    )


def _chestxray14(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.chestxray14 import prepare_chestxray14
    from healthygan.data.datasets.split import parse_amounts

    return prepare_chestxray14(
        options.images,
        options.metadata,
        options.output,
        amounts=parse_amounts(options.counts) or None,
        seed=options.seed,
        by_patient=not options.by_image,
        allow_missing=options.allow_missing,
    )


def _migraine(options: argparse.Namespace) -> "Prepared":
    from pydantic import ValidationError

    from healthygan.data.cohort import Split
    from healthygan.data.datasets.migraine import VolumeOptions, prepare_migraine
    from healthygan.data.datasets.text import check_pattern
    from healthygan.data.readers.base import ReaderOptions

    folders = {split: folder for split in Split if (folder := getattr(options, split)) is not None}
    check_pattern("--series", options.series)
    try:
        reader = ReaderOptions(
            slice_range=tuple(options.slices), slice_step=options.step, percentiles=tuple(options.percentiles)
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--slices, --step, --percentiles: {message}; correct it") from error
    if not 16 <= options.size <= 4096:
        raise InputError(f"--size {options.size}: give 16 to 4096 pixels")
    return prepare_migraine(
        folders,
        options.output,
        options=VolumeOptions(reader, options.size, options.mask_suffix, options.series),
        source=options.source_pattern,
        strict=options.strict,
        progress=shown,
    )


def _folders(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.general import prepare_folders

    return prepare_folders(
        options.healthy,
        options.diseased,
        options.output,
        unlabelled=options.unlabelled,
        patient=options.patient_pattern,
        source=options.source_pattern,
        plan=_plan(options),
    )


def _table(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.general import Columns, prepare_table
    from healthygan.data.datasets.rules import parse_rule

    return prepare_table(
        options.table,
        options.images,
        options.output,
        healthy=parse_rule(options.healthy),
        diseased=parse_rule(options.diseased),
        keep=parse_rule(options.keep) if options.keep else None,
        columns=Columns(options.path, options.patient, options.source, tuple(options.also)),
        rest_to_mixed=options.rest_to_mixed,
        plan=_plan(options),
        allow_missing=options.allow_missing,
    )


def _plan(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from healthygan.data.datasets.general import Plan
    from healthygan.data.datasets.split import parse_amounts

    return Plan(parse_amounts(options.counts) or None, options.seed, not options.by_image, options.stratify)


PROTOCOLS = {
    "covidx": _covidx,
    "chestxray14": _chestxray14,
    "migraine": _migraine,
    "folders": _folders,
    "table": _table,
}


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and its protocols."""
    verb = verbs.add_parser("prepare", help="make the manifest of a data set as it is published; nothing is downloaded")
    protocols = verb.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")

    covidx = protocols.add_parser("covidx", help="COVIDx 7B, as in the paper, or a later list")
    covidx.add_argument("--images", type=Path, required=True, metavar="DIR", help="all images, in any subfolders")
    covidx.add_argument("--lists", type=Path, required=True, metavar="DIR", help="with train_COVIDx7B.txt and so on")
    covidx.add_argument(
        "--split",
        choices=("official", "redraw"),
        default="official",
        help="the file names of the paper's public code (default), or drawn anew with patients kept apart",
    )
    covidx.add_argument("--list-version", metavar="NAME", help="where DIR holds several, such as 8B; by default 7B")
    covidx.add_argument(
        "--drop-torn", action="store_true", help="official split: no training image of a patient in two splits"
    )
    _draw_options(covidx, seed=None)
    _stratify_option(covidx)
    _output_options(covidx)

    chest = protocols.add_parser("chestxray14", help="NIH ChestX-ray14, PA views, as in the paper")
    chest.add_argument("--metadata", type=Path, required=True, metavar="CSV", help="Data_Entry_2017_v2020.csv[.gz]")
    _images_option(chest)
    _draw_options(chest)
    _by_image_option(chest)
    _output_options(chest)

    migraine = protocols.add_parser("migraine", help="T1 volumes (NIfTI or DICOM series) into axial slices")
    for split, needed in (("healthy", True), ("mixed", True), ("validation", False), ("test", False)):
        what = "IXI's T1 volumes" if split == "healthy" else "volumes, where known in healthy/ and diseased/"
        migraine.add_argument(f"--{split}", type=Path, required=needed, metavar="DIR", help=what)
    migraine.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="for slices and manifest.csv")
    migraine.add_argument(
        "--slices", type=float, nargs=2, default=(0.3, 0.7), metavar=("FROM", "TO"), help="of the height, 0 to 1"
    )
    migraine.add_argument("--step", type=int, default=1, help="every how manieth slice")
    migraine.add_argument(
        "--percentiles", type=float, nargs=2, default=(0.5, 99.5), metavar=("LOW", "HIGH"), help="black and white"
    )
    migraine.add_argument("--size", type=int, default=256, metavar="PX", help="side of a slice (default: 256)")
    migraine.add_argument(
        "--mask-suffix", metavar="SUFFIX", help="skull strip: _mask where NAME_mask.nii.gz is the brain in NAME.nii.gz"
    )
    migraine.add_argument("--series", metavar="REGEX", help="of several volumes a participant, which")
    migraine.add_argument("--source-pattern", metavar="REGEX", help="its first group in a path is the source")
    migraine.add_argument("--strict", action="store_true", help="stop at the first volume that cannot be used")

    folders = protocols.add_parser("folders", help="any set whose folders tell the labels")
    for label, needed in (("healthy", True), ("diseased", False), ("unlabelled", False)):
        what = "all for the mixed set" if label == "unlabelled" else f"with {label} images"
        folders.add_argument(f"--{label}", type=Path, nargs="+", default=[], required=needed, metavar="DIR", help=what)
    folders.add_argument("--patient-pattern", metavar="REGEX", help="its first group in a path is the patient")
    folders.add_argument("--source-pattern", metavar="REGEX", help="its first group in a path is the source")
    _draw_options(folders)
    _by_image_option(folders)
    _stratify_option(folders)
    folders.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="manifest to write")

    table = protocols.add_parser("table", help="any set with a table, one row an image")
    table.add_argument("--table", type=Path, required=True, metavar="CSV", help="comma separated, plain or gzip")
    _images_option(table)
    table.add_argument("--path", default="path", metavar="COLUMN", help="names the file (default: path)")
    table.add_argument("--healthy", required=True, metavar="RULE", help="such as 'finding == \"No Finding\"'")
    table.add_argument("--diseased", required=True, metavar="RULE", help="such as '\"Edema\" in finding'")
    table.add_argument("--keep", metavar="RULE", help="look at these rows only, such as 'view == \"PA\"'")
    table.add_argument("--patient", metavar="COLUMN", help="tells the patient")
    table.add_argument("--source", metavar="COLUMN", help="tells the hospital, device or collection")
    table.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="COLUMN",
        help="keep it in the manifest, for --control; repeatable",
    )
    table.add_argument("--rest-to-mixed", action="store_true", help="rows with neither label go to the mixed set")
    _draw_options(table)
    _by_image_option(table)
    _stratify_option(table)
    _output_options(table)


def _images_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="DIR", help="images, in any subfolders"
    )


def _draw_options(parser: argparse.ArgumentParser, seed: int | None = 0) -> None:
    parser.add_argument(
        "--counts",
        nargs="+",
        default=[],
        metavar="SPLIT=N+M",
        help="healthy + diseased images of each split, numbers or shares, such as mixed=20%%+60%% test=100+100",
    )
    parser.add_argument("--seed", type=int, default=seed, help="of the draw (default: 0)")


def _by_image_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by-image", action="store_true", help="draw image by image: patients may be in several splits"
    )


def _stratify_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stratify", action="store_true", help="draw from each source in proportion")


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="manifest to write")
    parser.add_argument("--allow-missing", action="store_true", help="go on without listed images that are not there")
