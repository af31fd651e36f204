"""The command line: verbs only, each of which calls one function of the library.

Exit codes: 0 done, 1 stopped before the end or a fault of ours, 2 something the user can mend.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from healthygan.cli import prepare as cli_prepare
from healthygan.cli.progress import shown
from healthygan.common.errors import InputError
from healthygan.common.version import __version__

# Spelt out: --help need not load what they are for.
ENGINES = ("torch", "onnx", "openvino")
PRECISIONS = ("32", "bf16")
RULES = ("last", "validation_auc", "early_stopping", "fid", "aucp")
DONE, STOPPED, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    # Libraries' advice to their own users would drown what a person needs to read.
    warnings.filterwarnings("ignore")
    try:
        verb: str = options.verb
        VERBS[verb](options, console)
        return DONE
    except InputError as error:
        print(f"healthygan {options.verb}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"healthygan {options.verb}: stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    except OSError as error:
        # A full disk, a missing permission, a share that went away: the user's to mend, wherever it is met.
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        print(f"healthygan {options.verb}: {place}{reason}; mend it and repeat the command", file=sys.stderr)
        return BAD_INPUT


def _inspect(options: argparse.Namespace, console: Console) -> None:
    from healthygan.cli.tables.inspection import print_inspection
    from healthygan.data.inspection.inspect import inspect_cohort
    from healthygan.runs.config import load_config

    config = load_config(options.config or options.preset, options.set)
    print_inspection(
        inspect_cohort(_cohort(options), config.preprocessing, options.output, options.control, progress=shown), console
    )


def _train(options: argparse.Namespace, console: Console) -> None:
    from healthygan.common.run_folder import Run
    from healthygan.data.cohort import Cohort
    from healthygan.runs import train as workflow
    from healthygan.runs.config import load_config
    from healthygan.training.loop import Stopped

    if options.resume:
        _refuse_with_resume(options)
        run = Run(options.resume)
        if not run.config.exists():
            raise InputError(f"{run.path}: not a run folder (no config.yaml); name one that train made")
        config, cohort = load_config(run.config, options.set), Cohort.from_manifest(run.cohort)
    else:
        if options.run is None:
            raise InputError("--run: missing; say where the run goes, such as --run runs/first")
        run = Run(options.run)
        members = [f"training.members={options.members}"] if options.members is not None else []
        config = load_config(options.config or options.preset, [*options.set, *members])
        cohort = _cohort(options)
    try:
        workflow.train(config, cohort, run.path, strict=options.strict, progress=shown)
    except Stopped as stopped:
        raise SystemExit(_stopped(str(stopped))) from None
    decision = run.load_decision()
    console.print(f"model of iteration {decision.iteration:,}, chosen by: {decision.rule}", highlight=False)
    console.print(f"threshold: {decision.threshold_rule}", highlight=False)
    for note in run.load_notes():
        console.print(note, highlight=False, soft_wrap=True)
    console.print(f"next: healthygan score {run.path} IMAGES -o OUT", highlight=False, soft_wrap=True)


def _refuse_with_resume(options: argparse.Namespace) -> None:
    """A run goes on with its own images and settings; to ignore others without a word would mislead."""
    for name in ("run", "config", "members", "cohort", "healthy", "mixed", "validation", "test"):
        if getattr(options, name) is not None:
            shown = "COHORT" if name == "cohort" else f"--{name}"
            raise InputError(f"{shown}: not together with --resume, which takes the run's own; leave it out")


def _stopped(message: str) -> int:
    print(f"healthygan train: {message}", file=sys.stderr)
    return STOPPED


def _select(options: argparse.Namespace, console: Console) -> None:
    from healthygan.cli.tables.evaluation import selection_table
    from healthygan.common.run_folder import Run
    from healthygan.nn.backbones import load_backbone
    from healthygan.runs import train as workflow

    run = Run(options.run)
    if options.extractor_weights and not options.extractor:
        raise InputError("--extractor-weights: whose? name the network too: --extractor NAME")
    extractor = load_backbone(options.extractor, options.extractor_weights) if options.extractor else None
    found = workflow.select(
        run, options.rule, extractor=extractor, measure=options.measure, device=options.device, progress=shown
    )
    console.print(selection_table(found))
    for curve in found.curves:
        if curve.remark:
            console.print(f"{curve.name}: {curve.remark}", highlight=False, soft_wrap=True, markup=False)
    if options.rule is None:
        console.print(f"the model stays that of iteration {found.chosen:,}; --rule RULE takes another", highlight=False)
        return
    console.print(f"model of iteration {found.chosen:,}, chosen by: {found.rule}", highlight=False, soft_wrap=True)
    console.print(f"threshold: {run.load_decision().threshold_rule}", highlight=False)


def _score(options: argparse.Namespace, console: Console) -> None:
    from healthygan.common.run_folder import Run
    from healthygan.inference.score import score

    done = score(
        Run(options.run),
        options.images,
        options.output,
        overlays=not options.no_maps,
        arrays=options.arrays,
        strict=options.strict,
        device=options.device,
        fdr=options.fdr,
        engine=options.engine,
        precision=options.precision,
        progress=shown,
    )
    flagged = "no threshold" if done.flagged is None else f"{done.flagged} {done.noun} above the threshold"
    console.print(f"{done.images} images scored, {flagged}: {done.table}", highlight=False, soft_wrap=True)
    if done.listed is not None:
        promise = f"on average at most {options.fdr:.0%} of them healthy"
        console.print(f"{done.listed} {done.noun} on the worklist, {promise}", highlight=False)
    _warn(console, done.warnings)
    if done.failures:
        listed = done.table.with_name("failures.txt")
        console.print(f"{len(done.failures)} files could not be read, listed in {listed}", soft_wrap=True)


def _export(options: argparse.Namespace, console: Console) -> None:
    from healthygan.common.run_folder import Run
    from healthygan.inference.export import export

    done = export(Run(options.run), options.to, options.output)
    console.print(f"{done.model}: differs from PyTorch by at most {done.difference:.1e}", soft_wrap=True)


def _evaluate(options: argparse.Namespace, console: Console) -> None:
    from healthygan.common.run_folder import Run
    from healthygan.evaluation.evaluate import evaluate

    output = options.output or options.run / "evaluation"
    found = evaluate(
        Run(options.run),
        _judged(options),
        output,
        control=options.control,
        against=Run(options.against) if options.against else None,
        device=options.device,
        strict=options.strict,
        progress=shown,
    )
    _show(console, found, output / "report.html")


def _judged(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    """What an evaluation judges, None for the run's own test set; a test set alone will do."""
    from healthygan.data.cohort import Cohort, load_cohort

    if options.test and not options.cohort:
        return Cohort.from_folders(test=options.test)
    return load_cohort(options.cohort, test=options.test) if options.cohort else None


def _benchmark(options: argparse.Namespace, console: Console) -> None:
    from healthygan.benchmark.budgets import load_budget, plan
    from healthygan.benchmark.runner import benchmark, paper_cohort
    from healthygan.benchmark.tables import captions, sheets, write_benchmark
    from healthygan.cli.tables.benchmark import to_terminal
    from healthygan.training.loop import Stopped

    cohort = _cohort(options)
    paper = paper_cohort(cohort) if options.paper == "auto" else None if options.paper == "none" else options.paper
    if options.budget == "paper" and paper is None:
        raise InputError(f"--budget paper: {cohort.name} is none of the paper's cohorts; name one, as --budget covidx")
    device = [] if options.device == "auto" else [f"training.device={options.device}"]
    budget = load_budget(str(paper) if options.budget == "paper" else options.budget)
    methods = plan(budget, options.detectors, [*device, *options.set])
    try:
        found = benchmark(
            cohort,
            methods,
            options.output,
            seeds=options.seeds,
            workers=options.workers,
            paper=paper,
            strict=options.strict,
            progress=shown,
        )
    except Stopped as stopped:
        print(f"healthygan benchmark: {stopped}", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    write_benchmark(options.output, found)
    for sheet in sheets(found):
        console.print(to_terminal(sheet))
    for caption in captions(found):
        console.print(caption, highlight=False, markup=False)
    console.print(f"tables and pictures: {options.output.resolve()}", highlight=False, soft_wrap=True)
    if found.failures:
        raise InputError(
            f"{len(found.failures)} trainings failed, listed above; the others' results are in {options.output}; "
            "the same command tries the failed ones again"
        )


def _demo(options: argparse.Namespace, console: Console) -> None:
    from healthygan.cli.demo import demo
    from healthygan.training.loop import Stopped

    try:
        found = demo(options.output, options.kind, options.seed, tuple(options.set), progress=shown)
    except Stopped as stopped:
        print(f"healthygan demo: {str(stopped).split(';')[0]}; the same command goes on", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    _show(console, found.evaluation, found.report)


def _show(console: Console, evaluation: object, report: Path) -> None:
    from healthygan.cli.tables.evaluation import evaluation_table
    from healthygan.evaluation.result import Evaluation

    assert isinstance(evaluation, Evaluation)
    console.print(evaluation_table(evaluation))
    if evaluation.controls:
        console.print("AUC of shallow controls, which a detector must beat:")
        for name, area in sorted(evaluation.controls.items(), key=lambda item: -item[1]):
            console.print(f"  {name:<22} {area:.3f}", highlight=False)
    _warn(console, evaluation.cautions)
    console.print(f"report: {report.resolve()}", highlight=False, soft_wrap=True)


def _warn(console: Console, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True, markup=False)


def _cohort(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from healthygan.data.cohort import load_cohort

    folders = {name: getattr(options, name) for name in ("healthy", "mixed", "validation", "test")}
    return load_cohort(options.cohort, **folders)


VERBS = {
    "prepare": cli_prepare.prepare,
    "inspect": _inspect,
    "train": _train,
    "select": _select,
    "score": _score,
    "export": _export,
    "evaluate": _evaluate,
    "benchmark": _benchmark,
    "demo": _demo,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="healthygan",
        description="Find the unhealthy medical images in a pile nobody has annotated. Research software.",
        epilog="A COHORT is a manifest (.csv with path, split and, where known, label, patient_id, source), "
        "a folder with a manifest.csv, or a folder with healthy/ and mixed/ in it.",
    )
    parser.add_argument("--version", action="version", version=f"healthygan {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    cli_prepare.add_parser(verbs)

    inspect = verbs.add_parser("inspect", help="count and check a cohort before training; draw a contact sheet")
    _cohort_options(inspect)
    _config_options(inspect)
    inspect.add_argument("-o", "--output", type=Path, metavar="PNG", help="contact sheet to write")
    _control_option(inspect)

    train = verbs.add_parser("train", help="learn from healthy images and a mixed pile")
    _cohort_options(train)
    _config_options(train)
    train.add_argument("--run", type=Path, metavar="DIR", help="run folder to make")
    train.add_argument("--members", type=int, metavar="N", help="train N seeds and join them into one detector")
    train.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    _strict_option(train)

    select = verbs.add_parser("select", help="compare a run's checkpoints, without labels; choose another one")
    select.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training")
    select.add_argument("--rule", choices=RULES, help="make this rule's checkpoint the model; default: compare")
    select.add_argument("--extractor", metavar="NAME", help="pretrained network for FID, by default the run's setting")
    select.add_argument("--extractor-weights", type=Path, metavar="FILE", help="its weights, where they come as a file")
    select.add_argument(
        "--measure", action="store_true", help="AUC of every checkpoint on the test labels too: no rule sees it"
    )
    _device_option(select)

    score = verbs.add_parser("score", help="rank images by how unhealthy they look")
    score.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training")
    score.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files, folders or a manifest")
    score.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    score.add_argument(
        "--fdr", type=float, metavar="SHARE", help="mark a worklist of which at most this share is healthy, such as 0.1"
    )
    score.add_argument("--arrays", action="store_true", help="difference maps as .npy files too")
    score.add_argument("--no-maps", action="store_true", help="no overlays: faster")
    score.add_argument("--engine", choices=ENGINES, default="torch", help="what computes (default: torch)")
    score.add_argument(
        "--precision", choices=PRECISIONS, default="32", help="bf16: up to twice as fast where the processor has it"
    )
    _device_option(score)
    _strict_option(score)

    export = verbs.add_parser("export", help="write a run's model for another engine")
    export.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training")
    export.add_argument("--to", choices=ENGINES, required=True, help="what will compute")
    export.add_argument("-o", "--output", type=Path, metavar="DIR", help="by default RUN/export/ENGINE")

    evaluate = verbs.add_parser("evaluate", help="measure a run on a labelled test set; write a report")
    evaluate.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training")
    evaluate.add_argument("cohort", type=Path, nargs="?", metavar="COHORT", help="other images than the run's own")
    evaluate.add_argument(
        "--test", type=Path, metavar="DIR", help="instead of COHORT: a folder with healthy/ and diseased/ in it"
    )
    evaluate.add_argument("-o", "--output", type=Path, metavar="DIR", help="by default RUN/evaluation")
    evaluate.add_argument("--against", type=Path, metavar="RUN", help="test the AUC against another run's (DeLong)")
    _control_option(evaluate)
    _device_option(evaluate)
    _strict_option(evaluate)

    compare = verbs.add_parser("benchmark", help="train and judge many detectors alike; write one table")
    _cohort_options(compare)
    compare.add_argument("--detectors", default="all", metavar="NAMES", help="all, or names separated by commas")
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (default: 3)")
    compare.add_argument(
        "--budget", default="small", help="what each may spend: small, paper, or a .yaml file (default: small)"
    )
    compare.add_argument(
        "--set", action="append", default=[], metavar="[NAME:]FIELD=VALUE", help="for all or one; repeatable"
    )
    compare.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    compare.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at a time, one a GPU in turn")
    compare.add_argument(
        "--paper",
        default="auto",
        choices=("auto", "none", "covidx", "chestxray14", "migraine"),
        help="whose published figures to show beside ours (default: what the cohort's name tells)",
    )
    _device_option(compare)
    _strict_option(compare)

    demo = verbs.add_parser("demo", help="generate phantoms, train on them, show what was found")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="by default demo/")
    demo.add_argument("--kind", choices=("chest", "brain"), default="chest", help="which phantoms")
    demo.add_argument("--seed", type=int, default=0, help="of the training")
    demo.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as in train")
    return parser


def _cohort_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT", help="manifest or folder")
    parser.add_argument("--healthy", type=Path, metavar="DIR", help="instead of COHORT: healthy images (B)")
    parser.add_argument("--mixed", type=Path, metavar="DIR", help="the unannotated pile (A)")
    parser.add_argument("--validation", type=Path, metavar="DIR", help="with healthy/ and diseased/ in it")
    parser.add_argument("--test", type=Path, metavar="DIR", help="with healthy/ and diseased/ in it")


def _config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="small", help="settings that come with healthygan (default: small)")
    parser.add_argument(
        "--config", type=_config_source, metavar="YAML", help="settings of your own instead, or a preset's name"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="such as training.seed=1; repeatable",
    )


def _config_source(text: str) -> str | Path:
    """A preset's name, or a file."""
    from healthygan.runs.config import preset_names

    return text if text in preset_names() and not Path(text).is_file() else Path(text)


def _control_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="COLUMN",
        help="column of the manifest whose AUC alone is wanted beside that of source; repeatable",
    )


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")


def _strict_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="stop at the first unreadable image")
