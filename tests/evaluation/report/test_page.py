"""A report is one sound HTML file that loads nothing and escapes everything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from healthygan.common.errors import InputError
from healthygan.evaluation.report.page import write_report
from healthygan.evaluation.result import GROUPS, Case, Evaluation, TrainingSeries
from healthygan.runs.selection import Curve, Selection
from healthygan.stats.intervals import Comparison

ATTACK = "<script>alert('x')</script>\"&.png"
NASTY = ATTACK + "".join(
    (
        "\" onerror=\"alert(1)\" x='' onload='alert(1)",
        "</title></style></section></table></main><img src=http://example.org/x.png>",
        "--><!--",
        "{{ 7 * 7 }}{% raw %}{# x #}",
        "&lt;b&gt;&amp;amp;&#x3c;",
        "$\\frac{1}$ $",
    )
)


def test_report_is_one_file_that_loads_and_runs_nothing(written, tmp_path: Path, labelled: Evaluation) -> None:
    page, content = written(labelled)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(" not in content
    assert "default-src 'none'" in content
    assert 'name="viewport"' in content


def test_report_holds_charts_for_both_colour_schemes_and_every_panel(page) -> None:
    # ROC, histogram and training curve, the colour scale, four panels of a.png and two of b.png.
    assert page.tags.count("source") == 3
    assert page.tags.count("img") == 3 + 1 + 4 + 2


def test_user_strings_are_escaped_everywhere(written, labelled: Evaluation) -> None:
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
    page, content = written(hostile)
    assert "script" not in page.tags
    assert "<script" not in content
    # title, kicker twice, heading, sentence, column, control twice, warning, setting twice, case three times
    assert page.text.count(ATTACK) >= 13


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # a chart's title is wider than the chart
@pytest.mark.parametrize("which", ["labelled", "pile"])
def test_nasty_text_in_every_field_changes_no_tag_and_shows_as_it_is(
    written, request: pytest.FixtureRequest, which: str
) -> None:
    evaluation = request.getfixturevalue(which)
    harmless, _ = written(_named_everywhere(evaluation, "Harmless"))
    page, _ = written(_named_everywhere(evaluation, NASTY))
    assert page.tags == harmless.tags
    assert page.ids == harmless.ids
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert page.text.count(NASTY) == harmless.text.count("Harmless") > 30


def _named_everywhere(evaluation: Evaluation, text: str) -> Evaluation:
    """The evaluation with ``text`` in every field that holds any text."""
    image = np.zeros((4, 4))
    case = Case(text, 1.0, 1, text, text, original=image, difference=image)
    return replace(
        evaluation,
        title=text,
        detector=text,
        cohort=text,
        unit=f"{text}s",  # the page cuts the plural's s off
        honest_rule=text,
        rival=text,
        comparison=Comparison(0.8, 0.7, 0.02, 0.001),
        selection=Selection(
            chosen=1, rule=text, last=1, curves=(Curve(rule=text, name=text, values={1: 0.5}, remark=text),)
        ),
        controls={text: 0.6},
        warnings=(text,),
        cases={group: (case,) for group in GROUPS},
        settings={text: text},
        training=TrainingSeries([1, 2, 3], {text: [3.0, 2.0, 1.0]}),
    )


def test_file_names_that_are_not_utf8_do_not_stop_the_report(written, pile: Evaluation) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    page, _ = written(replace(pile, cases={"top": (Case(name, 1.0, 1),)}))
    assert "caf?.png" in page.text


def test_report_of_a_pile_without_labels_ranks_and_promises_nothing(written, pile: Evaluation) -> None:
    page, _ = written(pile)
    assert "Nobody has annotated these images" in page.text
    assert "z.pngabove thresholdscore 1 · rank 1 of 30" in page.text
    assert page.tags.count("source") == 1
    assert page.ids == ["scores", "pictures", "top"]
    assert "AUC" not in page.text


def test_report_of_bare_scores_is_whole(written) -> None:
    bare = Evaluation(title="t", detector="d", cohort="c", scores=np.array([0.5, 0.5], dtype=np.float32))
    page, _ = written(bare)
    assert page.ids == ["scores"]


def test_a_report_that_cannot_be_written_is_a_user_fault(tmp_path: Path, pile: Evaluation) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", pile)
