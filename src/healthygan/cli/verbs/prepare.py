"""``healthygan prepare``: from a data set as it is published to a manifest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser, strict_option
from healthygan.cli.progress import shown
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from healthygan.data.datasets.general import Plan
    from healthygan.data.datasets.prepared import Prepared

SUMMARY = "make the manifest of a data set as it is published; nothing is downloaded"


def run(options: argparse.Namespace, console: "Console") -> None:
    """Run the protocol that was named."""
    from healthygan.cli.tables.prepared import print_prepared

    print_prepared(PROTOCOLS[options.protocol](options), console)


def _covidx(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.covidx import prepare_covidx
    from healthygan.data.datasets.split import parse_amounts

    official = options.split == "official"
    drawing = {"--counts": options.amounts, "--seed": options.seed is not None, "--stratify": options.stratify}
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
        version=options.version,
        amounts=parse_amounts(options.amounts) or None,
        seed=options.seed or 0,
        stratify=options.stratify,
        keep_apart=options.drop_torn,
        allow_missing=options.allow_missing,
        progress=shown,
    )


def _chestxray14(options: argparse.Namespace) -> "Prepared":
    from healthygan.data.datasets.chestxray14 import prepare_chestxray14
    from healthygan.data.datasets.split import parse_amounts

    return prepare_chestxray14(
        options.images,
        options.metadata,
        options.output,
        amounts=parse_amounts(options.amounts) or None,
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
    check_pattern("series", options.series)
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
        source=options.source,
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
        patient=options.patient,
        source=options.source,
        plan=_plan(options),
        progress=shown,
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
        progress=shown,
    )


def _plan(options: argparse.Namespace) -> "Plan":
    from healthygan.data.datasets.general import Plan
    from healthygan.data.datasets.split import parse_amounts

    return Plan(parse_amounts(options.amounts) or None, options.seed, not options.by_image, options.stratify)


PROTOCOLS = {
    "covidx": _covidx,
    "chestxray14": _chestxray14,
    "migraine": _migraine,
    "folders": _folders,
    "table": _table,
}


def add_options(parser: Parser) -> None:
    """The protocols, each with options of its own."""
    protocols = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")
    _covidx_options(protocols.add_parser("covidx", help="COVIDx 7B, as in the paper, or a later list"))
    _chestxray14_options(protocols.add_parser("chestxray14", help="NIH ChestX-ray14, PA views, as in the paper"))
    _migraine_options(protocols.add_parser("migraine", help="T1 volumes (NIfTI or DICOM series) into axial slices"))
    _folders_options(protocols.add_parser("folders", help="any set whose folders tell the labels"))
    _table_options(protocols.add_parser("table", help="any set with a table, one row an image"))


def _covidx_options(parser: Parser) -> None:
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="all images, in any subfolders")
    parser.add_argument("--lists", type=Path, required=True, metavar="DIR", help="with train_COVIDx7B.txt and so on")
    parser.add_argument(
        "--split",
        choices=("official", "redraw"),
        default="official",
        help="the file names of the paper's public code (default), or drawn anew with patients kept apart",
    )
    parser.add_argument(
        "--list-version", dest="version", metavar="NAME", help="where DIR holds several, such as 8B; by default 7B"
    )
    parser.add_argument(
        "--drop-torn", action="store_true", help="official split: no training image of a patient in two splits"
    )
    _draw_options(parser, seed=None)
    _stratify_option(parser)
    _output_options(parser)


def _chestxray14_options(parser: Parser) -> None:
    parser.add_argument("--metadata", type=Path, required=True, metavar="CSV", help="Data_Entry_2017_v2020.csv[.gz]")
    _images_option(parser)
    _draw_options(parser)
    _by_image_option(parser)
    _output_options(parser)


def _migraine_options(parser: Parser) -> None:
    for split, needed in (("healthy", True), ("mixed", True), ("validation", False), ("test", False)):
        what = (
            "IXI's T1 volumes"
            if split == "healthy"
            else "T1 volumes; those of known label in healthy/ and diseased/ below it"
        )
        parser.add_argument(f"--{split}", type=Path, required=needed, metavar="DIR", help=what)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="for slices and manifest.csv")
    parser.add_argument(
        "--slices",
        type=float,
        nargs=2,
        default=(0.3, 0.7),
        metavar=("FROM", "TO"),
        help="shares of the height, 0 to 1 (default: 0.3 0.7)",
    )
    parser.add_argument("--step", type=int, default=1, metavar="N", help="take every N-th slice (default: 1, all)")
    parser.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        default=(0.5, 99.5),
        metavar=("LOW", "HIGH"),
        help="of a volume, shown black and white (default: 0.5 99.5)",
    )
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="side of a slice (default: 256)")
    parser.add_argument(
        "--mask-suffix", metavar="SUFFIX", help="skull strip: _mask where NAME_mask.nii.gz is the brain in NAME.nii.gz"
    )
    parser.add_argument(
        "--series", metavar="REGEX", help="which volume to take, by its name, where a participant has several"
    )
    parser.add_argument(
        "--source-pattern", dest="source", metavar="REGEX", help="its first group, in the path of a file, is the source"
    )
    strict_option(parser, "volume that cannot be used")


def _folders_options(parser: Parser) -> None:
    for label, needed in (("healthy", True), ("diseased", False), ("unlabelled", False)):
        what = "all for the mixed set" if label == "unlabelled" else f"with {label} images"
        parser.add_argument(f"--{label}", type=Path, nargs="+", default=[], required=needed, metavar="DIR", help=what)
    parser.add_argument(
        "--patient-pattern",
        dest="patient",
        metavar="REGEX",
        help="its first group, in the path of a file, is the patient",
    )
    parser.add_argument(
        "--source-pattern", dest="source", metavar="REGEX", help="its first group, in the path of a file, is the source"
    )
    _draw_options(parser)
    _by_image_option(parser)
    _stratify_option(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="manifest to write")


def _table_options(parser: Parser) -> None:
    parser.add_argument("--table", type=Path, required=True, metavar="CSV", help="comma separated, plain or gzip")
    _images_option(parser)
    parser.add_argument("--path", default="path", metavar="COLUMN", help="column that names the file (default: path)")
    parser.add_argument("--healthy", required=True, metavar="RULE", help="such as 'finding == \"No Finding\"'")
    parser.add_argument("--diseased", required=True, metavar="RULE", help="such as '\"Edema\" in finding'")
    parser.add_argument("--keep", metavar="RULE", help="look at these rows only, such as 'view == \"PA\"'")
    parser.add_argument("--patient", metavar="COLUMN", help="column that tells the patient")
    parser.add_argument("--source", metavar="COLUMN", help="column that tells the hospital, device or collection")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="COLUMN",
        help="further column to keep in the manifest, for --control; repeatable",
    )
    parser.add_argument("--rest-to-mixed", action="store_true", help="rows with neither label go to the mixed set")
    _draw_options(parser)
    _by_image_option(parser)
    _stratify_option(parser)
    _output_options(parser)


def _images_option(parser: Parser) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="DIR", help="images, in any subfolders"
    )


def _draw_options(parser: Parser, seed: int | None = 0) -> None:
    parser.add_argument(
        "--counts",
        nargs="+",
        dest="amounts",
        default=[],
        metavar="SPLIT=N+M",
        help="healthy + diseased images of each split, numbers or shares, such as mixed=20%%+60%% test=100+100",
    )
    parser.add_argument("--seed", type=int, default=seed, help="of the random draw (default: 0)")


def _by_image_option(parser: Parser) -> None:
    parser.add_argument(
        "--by-image", action="store_true", help="draw image by image: patients may be in several splits"
    )


def _stratify_option(parser: Parser) -> None:
    parser.add_argument("--stratify", action="store_true", help="draw from each source in proportion")


def _output_options(parser: Parser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="manifest to write")
    parser.add_argument("--allow-missing", action="store_true", help="go on without listed images that are not there")
