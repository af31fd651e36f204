"""A report is one sound HTML file that loads nothing, escapes everything, and tells what was measured."""

import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from healthygan.errors import InputError
from healthygan.metrics import measure
from healthygan.report import (
    GROUPS,
    Case,
    Evaluation,
    TrainingSeries,
    choose_cases,
    evaluation_table,
    selection_table,
    to_json,
    write_report,
)
from healthygan.selection import Curve, Selection

VOID = {"meta", "img", "source", "br", "hr", "link", "input"}
ATTACK = "<script>alert('x')</script>\"&.png"


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


@pytest.fixture(scope="module")
def labelled() -> Evaluation:
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


@pytest.fixture(scope="module")
def pile() -> Evaluation:
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


def written(folder: Path, evaluation: Evaluation) -> tuple[Page, str]:
    path = folder / "report.html"
    write_report(path, evaluation)
    content = path.read_text(encoding="utf-8")
    return Page(content), content


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, labelled: Evaluation) -> Page:
    return written(tmp_path_factory.mktemp("labelled"), labelled)[0]


def printed(evaluation: Evaluation) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(evaluation_table(evaluation))
    return console.export_text()


def test_report_is_one_file_that_loads_and_runs_nothing(tmp_path: Path, labelled: Evaluation) -> None:
    page, content = written(tmp_path, labelled)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(" not in content
    assert "default-src 'none'" in content
    assert 'name="viewport"' in content


def test_report_holds_charts_for_both_colour_schemes_and_every_panel(page: Page) -> None:
    # ROC, histogram and training curve, the colour scale, four panels of a.png and two of b.png.
    assert page.tags.count("source") == 3
    assert page.tags.count("img") == 3 + 1 + 4 + 2


def test_report_tells_what_was_measured(page: Page, labelled: Evaluation) -> None:
    text = page.text
    performance = labelled.performance
    assert performance is not None
    honest = performance.honest_rates
    assert honest is not None
    assert f"{performance.auc:.3f}" in text
    assert f"{performance.auc_interval.low:.3f} to {performance.auc_interval.high:.3f}" in text
    assert f"finds {honest.tp} of 40 diseased images and calls {honest.fp} of 40 healthy ones" in text
    assert "the paper's way" in text
    assert "threshold seen on the test labels; optimistic" in text
    assert "specificity 0.90 on 50 held-out healthy images" in text
    assert "0.912" in text
    assert f"{performance.auc - 0.61:+.3f}" in text
    assert "not a medical device" in text


def test_undefined_numbers_are_left_out(page: Page) -> None:
    assert "Dice" not in page.text
    assert "nan" not in page.text


def test_warnings_come_before_every_number(page: Page) -> None:
    assert page.text.index("2 images could not be read.") < page.text.index("AUC")


def test_cases_stand_in_their_groups_with_the_verdict_of_the_honest_threshold(page: Page) -> None:
    assert [anchor for anchor in page.ids if anchor in GROUPS] == ["found", "missed", "alarms"]
    assert "a.pngfoundscore 1.5 · rank 1 of 80 · diseased · source Ward 3" in page.text
    assert "b.pngmissedscore 0.1 · rank 77 of 80 · diseased" in page.text
    assert "c.pngfalse alarmscore 1 · rank 12 of 80 · healthy" in page.text


def test_user_strings_are_escaped_everywhere(tmp_path: Path, labelled: Evaluation) -> None:
    assert labelled.training is not None
    image = np.zeros((4, 4))
    hostile = replace(
        labelled,
        title=ATTACK,
        detector=ATTACK,
        cohort=ATTACK,
        honest_rule=ATTACK,
        controls={ATTACK: 0.6},
        warnings=(ATTACK,),
        settings={ATTACK: ATTACK},
        cases={"found": (Case(ATTACK, 1.0, 1, ATTACK, ATTACK, original=image),)},
        training=TrainingSeries([1, 2, 3], {ATTACK: [3.0, 2.0, 1.0]}),
    )
    page, content = written(tmp_path, hostile)
    assert "script" not in page.tags
    assert "<script" not in content
    # title, kicker twice, heading, sentence, column, control twice, warning, setting twice, case three times
    assert page.text.count(ATTACK) >= 13


def test_file_names_that_are_not_utf8_do_not_stop_the_report(tmp_path: Path, pile: Evaluation) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    page, _ = written(tmp_path, replace(pile, cases={"top": (Case(name, 1.0, 1),)}))
    assert "caf?.png" in page.text


def test_report_of_a_pile_without_labels_ranks_and_promises_nothing(tmp_path: Path, pile: Evaluation) -> None:
    page, _ = written(tmp_path, pile)
    assert "Nobody has annotated these images" in page.text
    assert "z.pngabove thresholdscore 1 · rank 1 of 30" in page.text
    assert page.tags.count("source") == 1
    assert page.ids == ["scores", "pictures", "top"]
    assert "AUC" not in page.text


def test_report_of_bare_scores_is_whole(tmp_path: Path) -> None:
    bare = Evaluation(title="t", detector="d", cohort="c", scores=np.array([0.5, 0.5], dtype=np.float32))
    page, _ = written(tmp_path, bare)
    assert page.ids == ["scores"]


def test_a_report_that_cannot_be_written_is_a_user_fault(tmp_path: Path, pile: Evaluation) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", pile)


def test_cautions_follow_from_the_numbers(labelled: Evaluation) -> None:
    assert labelled.cautions == labelled.warnings
    assert labelled.performance is not None
    chance = replace(labelled.performance, auc=0.55, auc_interval=labelled.performance.auc_interval._replace(low=0.45))
    doubtful = replace(labelled, warnings=(), performance=chance, honest_threshold=math.inf).cautions
    assert len(doubtful) == 4
    assert "not shown to beat chance" in doubtful[0]
    assert "“mean intensity”" in doubtful[1]
    assert "Within the interval" in doubtful[2] and doubtful[2].endswith(": “file size”.")
    assert "Too few held-out healthy images" in doubtful[3]


def test_an_infinite_threshold_shows_as_none(tmp_path: Path, labelled: Evaluation) -> None:
    assert labelled.labels is not None
    performance = measure(
        labelled.scores,
        labelled.labels,
        honest_threshold=math.inf,
        resamples=5,
        generator=np.random.default_rng(0),
    )
    page, _ = written(tmp_path, replace(labelled, performance=performance, honest_threshold=math.inf))
    assert re.search(r"threshold[\d.]+none", page.text)
    assert "inf" not in page.text


def test_choose_cases_takes_the_ends_of_each_class() -> None:
    scores = np.array([0.3, 0.9, 0.1, 0.8, 0.5, 0.2])
    labels = np.array([True, True, True, False, False, False])
    chosen = {group: indices.tolist() for group, indices in choose_cases(scores, labels, 2).items()}
    assert chosen == {"found": [1, 0], "missed": [2, 0], "alarms": [3, 4], "passed": [5, 4]}
    assert choose_cases(scores, None, 3)["top"].tolist() == [1, 3, 4]


def test_an_evaluation_with_labels_but_no_numbers_is_refused(labelled: Evaluation) -> None:
    with pytest.raises(ValueError, match="together"):
        replace(labelled, performance=None)
    with pytest.raises(ValueError, match="unknown groups"):
        replace(labelled, cases={"odd": ()})


def test_json_has_null_for_what_is_undefined_and_survives_a_strict_writer(labelled: Evaluation) -> None:
    content = to_json(replace(labelled, honest_threshold=math.inf))
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["best_dice"] is None
    assert content["honest_threshold"] is None
    assert content["images"] == 80
    assert content["diseased"] == 40
    assert labelled.performance is not None
    assert content["auc"] == labelled.performance.auc
    rates = content["paper_rates"]
    assert isinstance(rates, dict)
    assert rates["tp"] + rates["fn"] == 40
    assert rates["recall"] == labelled.performance.paper_rates.recall


def test_json_of_a_pile_has_no_metrics(pile: Evaluation) -> None:
    content = to_json(pile)
    assert content["auc"] is None
    assert content["paper_rates"] is None
    assert content["honest_threshold"] == 0.9
    json.dumps(content, allow_nan=False)


def test_terminal_table_shows_both_columns(labelled: Evaluation) -> None:
    text = printed(replace(labelled, detector="[red]HealthyGAN[/red]"))
    assert labelled.performance is not None
    assert "[red]HealthyGAN[/red] on phantoms" in text
    assert "the paper's way" in text
    assert f"{labelled.performance.paper_rates.f1:.3f}" in text
    assert f"{labelled.performance.auc:.3f}" in text


def test_terminal_table_of_a_pile_counts_what_is_above_the_threshold(pile: Evaluation) -> None:
    text = printed(pile)
    # 30 scores from 0 to 1: those at 27/29 and above reach 0.9.
    assert re.search(r"above the threshold\s+│\s+3 ", text)


def selection(measured: bool) -> Selection:
    curves = (
        Curve(rule="aucp", name="AUCp", values={1: 0.6, 2: 0.8, 3: 0.7}),
        Curve(rule="fid", name="FID (x)", lower_is_better=True, values={1: 9.0, 2: 5.0, 3: 4.0}, remark="rough: few"),
    )
    areas = {1: 0.7, 2: 0.95, 3: 0.9} if measured else None
    return Selection(chosen=2, rule="highest AUCp", last=3, curves=curves, test_auc=areas)


def test_the_choice_of_the_checkpoint_is_told_with_what_it_cost(tmp_path: Path, labelled: Evaluation) -> None:
    told = replace(labelled, selection=selection(measured=True))
    page, content = written(tmp_path, told)
    assert "Choice of the checkpoint" in page.text and "Chosen by: highest AUCp." in page.text
    assert "FID (x): rough: few." in page.text
    for cells in (
        ("aucp", "2", "AUCp 0.8", "0.950", "+0.000", "+0.050"),
        ("fid", "3", "FID (x) 4", "0.900", "-0.050", "+0.000"),
        ("last", "3", "", "0.900", "-0.050", "+0.000"),
        ("oracle", "2", "no rule: it sees the test labels", "0.950", "+0.000", "+0.050"),
    ):
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in content
    rows = to_json(told)["selection"]
    assert isinstance(rows, list) and rows[0]["rule"] == "aucp" and rows[0]["from_last"] == pytest.approx(0.05)


def test_without_test_labels_the_choice_tells_no_auc() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(selection_table(selection(measured=False)))
    shown = console.export_text()
    assert "FID (x) 4" in shown and "test AUC" not in shown and "oracle" not in shown


def test_localisation_and_stability_are_told_where_they_are_known(labelled: Evaluation, pile: Evaluation) -> None:
    shown = printed(replace(labelled, aupro=0.4321, flip_stability=0.8765))
    assert "AUPRO" in shown and "0.432" in shown and "0.876" in shown
    assert "AUPRO" not in printed(labelled) and "flips" not in printed(labelled)
    assert "0.876" in printed(replace(pile, flip_stability=0.8765))
