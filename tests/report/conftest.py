"""Evaluations with and without labels, and the page read back: what every part of the report is tried on."""

import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from healthygan.metrics import measure
from healthygan.report.page import write_report
from healthygan.report.result import Case, Evaluation, TrainingSeries
from healthygan.selection import Curve, Selection

VOID = {"meta", "img", "source", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and gathers what the tests ask for."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("src", "srcset", "href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] != "style":
            self.text += data


@pytest.fixture(scope="session")
def labelled() -> Evaluation:
    """A test set with labels, cases, controls and a training log."""
    random = np.random.default_rng(0)
    labels = np.arange(80) < 40
    scores = random.random(80) + 0.6 * labels
    performance = measure(scores, labels, honest_threshold=0.9, resamples=20, generator=random)
    image, lesion = random.uniform(-1, 1, (16, 16)), np.zeros((16, 16), dtype=bool)
    lesion[4:8, 4:8] = True
    found = Case("a.png", 1.5, 1, "diseased", "Ward 3", image, -image, np.abs(image), np.abs(image), lesion)
    missed = Case("b.png", 0.1, 77, "diseased", original=image, difference=np.abs(image))
    return Evaluation(
        title="Test set",
        detector="HealthyGAN",
        cohort="phantoms",
        scores=scores,
        labels=labels,
        performance=performance,
        honest_threshold=0.9,
        honest_rule="specificity 0.90 on 50 held-out healthy images",
        pixel_auroc=0.9123,
        best_dice=math.nan,
        controls={"mean intensity": 0.61, "file size": 0.52},
        warnings=("2 images could not be read.",),
        cases={"found": (found,), "missed": (missed,), "alarms": (Case("c.png", 1.0, 12, "healthy"),)},
        settings={"seed": "1"},
        training=TrainingSeries([1, 2, 3], {"critic": [3.0, 2.0, 1.0]}),
    )


@pytest.fixture(scope="session")
def pile() -> Evaluation:
    """A pile nobody has annotated, with a threshold."""
    scores = np.linspace(0, 1, 30)
    return Evaluation(
        title="Pile",
        detector="PaDiM",
        cohort="ward",
        scores=scores,
        honest_threshold=0.9,
        honest_rule="specificity 0.90 on 9 held-out healthy images",
        held_out_healthy=np.linspace(0, 0.4, 9),
        cases={"top": (Case("z.png", 1.0, 1),)},
    )


@pytest.fixture(scope="session")
def selection() -> Callable[[bool], Selection]:
    """Two rules over three candidates, with the AUC on test labels if measured."""
    return _selection


def _selection(measured: bool) -> Selection:
    curves = (
        Curve(rule="aucp", name="AUCp", values={1: 0.6, 2: 0.8, 3: 0.7}),
        Curve(rule="fid", name="FID (x)", lower_is_better=True, values={1: 9.0, 2: 5.0, 3: 4.0}, remark="rough: few"),
    )
    areas = {1: 0.7, 2: 0.95, 3: 0.9} if measured else None
    return Selection(chosen=2, rule="highest AUCp", last=3, curves=curves, test_auc=areas)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Evaluation], tuple[Page, str]]:
    """Writes an evaluation's report and gives the page, parsed and as text."""
    return lambda evaluation: _written(tmp_path, evaluation)


def _written(folder: Path, evaluation: Evaluation) -> tuple[Page, str]:
    path = folder / "report.html"
    write_report(path, evaluation)
    content = path.read_text(encoding="utf-8")
    return Page(content), content


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, labelled: Evaluation) -> Page:
    """The page of ``labelled``."""
    return _written(tmp_path_factory.mktemp("labelled"), labelled)[0]
