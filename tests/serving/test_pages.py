"""What readers see: the worklist sorted, filtered and paged, and a case with all that is known of it."""

import json
import re

import pytest
from sqlalchemy import select

from fixtures.scored_folders import write_names
from healthygan.serving import worklist
from healthygan.serving.database import CASES
from healthygan.serving.rendering import environment
from healthygan.serving.worklist import Wanted


def ids(text: str) -> list[int]:
    """Cases of a worklist, from top to bottom."""
    return [int(number) for number in re.findall(r'<td class="name"[^>]*><a href="/case/(\d+)', text)]


def test_the_worklist_shows_rank_score_p_value_patient_remark_and_verdict(reader):
    shown = reader.get("/").text
    assert ids(shown) == list(range(1, 25))
    for part in ("phantom_000.png", "P000", "unlike training", "unread", "0.04", 'src="/case/1/thumbnail"'):
        assert part in shown
    assert 'loading="lazy"' in shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=score&down=1", list(range(1, 25))),
        ("sort=score", list(range(24, 0, -1))),
        ("flagged=no", list(range(13, 25))),
        ("worklist=1", list(range(1, 9))),
        ("search=p003", [4, 16]),
        ("search=%25", []),
        ("remark=some", [4, 11, 18]),
        ("remark=unlike%20training", [4, 11, 18]),
        ("verdict=diseased", []),
        ("cut=0", [1]),
        ("cut=1000", list(range(1, 25))),
    ],
)
def test_cases_are_sorted_searched_and_filtered(reader, query, expected):
    assert ids(reader.get(f"/?{query}").text) == expected


def test_verdicts_can_be_filtered(reader):
    reader.judge(3, "unsure")
    assert ids(reader.get("/?verdict=unsure").text) == [3]
    assert ids(reader.get("/?verdict=read").text) == [3]
    assert 3 not in ids(reader.get("/?verdict=unread").text)


def test_patients_stand_together_the_most_suspicious_first(reader):
    shown = ids(reader.get("/?group=1").text)
    assert shown[:4] == [1, 13, 2, 14]
    assert sorted(shown) == list(range(1, 25))


def test_the_slider_tells_what_a_threshold_implies(reader):
    reader.judge(1, "diseased")
    shown = " ".join(re.sub(r"<[^>]+>", "", reader.get("/?cut=500").text.split("counts")[1]).split())
    assert (
        "5 images of 5 patients" in shown and "5 above the model's threshold" in shown and "1 read, 1 diseased" in shown
    )


def test_htmx_is_given_the_results_alone(reader):
    assert "<html" in reader.get("/").text
    part = reader.get("/", headers={"hx-request": "true"}).text
    assert "<html" not in part and ids(part)


@pytest.mark.parametrize("query", ["page=0", "cut=2000", "sort=path;drop", "search=" + "x" * 300])
def test_a_senseless_query_is_refused(reader, query):
    assert reader.get(f"/?{query}").status_code == 422


def test_many_images_come_page_by_page(tmp_path, opened, enter):
    reader = enter(opened(write_names(tmp_path, 3_000)))
    first, last = reader.get("/").text, reader.get("/?page=60").text
    assert len(ids(first)) == worklist.PAGE and len(ids(last)) == worklist.PAGE
    assert not {*ids(first)} & {*ids(last)}
    assert ids(reader.get("/?page=999").text) == ids(last)  # behind the last page there is the last one


@pytest.mark.parametrize(
    "query", [{}, {"sort": "score"}, {"sort": "patient", "down": True}, {"group": True}, {"verdict": "unread"}]
)
def test_going_on_visits_every_case_of_the_list_in_its_order(desk, query):
    wanted = Wanted(**query)
    with desk.database.read() as connection:
        listed = [row.id for row in worklist.page(connection, wanted, "Ada").rows]
        walked = [listed[0]]
        while (following := worklist.neighbour(connection, wanted, "Ada", walked[-1], behind=True)) is not None:
            walked.append(following)
        assert walked == listed
        assert worklist.neighbour(connection, wanted, "Ada", listed[5], behind=False) == listed[4]
        assert worklist.neighbour(connection, wanted, "Ada", listed[0], behind=False) is None


def test_a_case_shows_what_is_known_of_it_and_the_patients_other_images(reader):
    shown = reader.get("/case/4").text
    for part in (
        "Rank 4",
        "P003",
        "unlike training",
        "made of phantoms",
        "/case/16?",
        "/case/16/thumbnail",
        "/case/5?",
    ):
        assert part in shown, part
    assert json.loads(re.search(r'data-case="([^"]*)"', shown)[1].replace("&#34;", '"'))["id"] == 4


def test_there_is_no_case_of_another_number(reader):
    assert [reader.get(f"/case/{n}").status_code for n in (0, 25, -1)] == [404, 404, 404]
    assert reader.judge(999, "healthy").status_code == 404


def test_cases_keep_their_number_and_verdict_when_the_pile_is_scored_anew(scored, opened, enter):
    first = opened(scored)
    enter(first).judge(2, "diseased")
    lines = (scored / "scores.csv").read_text().splitlines()
    (scored / "scores.csv").unlink()
    (scored / "scores.csv").write_text("\n".join([lines[0], lines[3], lines[2]]) + "\n")
    again = opened(scored)
    assert again.cases == 2
    with again.database.read() as connection:
        shown = worklist.page(connection, Wanted(), "Ada").rows
        assert [(row.id, row.kind) for row in shown] == [(3, None), (2, "diseased")]
        assert connection.scalar(select(CASES.c.place).where(CASES.c.id == 9)) == 0


def test_the_bound_is_shown_where_it_can_be_computed(reader, monkeypatch):
    from healthygan.serving import pages
    from healthygan.serving.stopping import StoppingSummary

    assert "When may one stop?" not in reader.get("/progress").text
    summary = StoppingSummary(7, 2.4, 5, 0.583, 0.95, "3 cases drawn at random")
    monkeypatch.setattr(pages, "stopping_summary", lambda _: summary)
    shown = reader.get("/progress").text
    for part in ("When may one stop?", "58%", "95%", "at most\n5", "3 cases drawn at random"):
        assert part in shown, part


def test_every_template_compiles_and_none_switches_escaping_off():
    for name in environment().list_templates():
        source = environment().loader.get_source(environment(), name)[0]
        environment().get_template(name)
        assert not re.search(r"\|\s*safe|autoescape|Markup|style=|onclick", source), name
        # The page without a server holds its one script, which its policy names by hash (test_offline.py).
        assert source.count("<script>") == (name == "offline.html"), name
