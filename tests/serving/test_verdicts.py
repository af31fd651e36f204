"""Verdicts: kept, undone, counted, given by two readers, drawn at random, written to CSV and read from it."""

import csv
import io

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from healthygan.serving.database import CASES, OPENINGS, VERDICTS
from healthygan.serving.exchange import neutral, restored
from healthygan.serving.sessions import Sessions
from healthygan.serving.stopping import reading_of

BOX = {"x": 10.5, "y": 20, "width": 30, "height": 12}
POINT = {"x": 3, "y": 4, "width": 0, "height": 0}


def rows_of(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content)))


def test_a_verdict_keeps_note_marks_reader_time_and_model(reader, desk):
    assert reader.judge(1, "diseased", note="left base", marks=[BOX, POINT]).status_code == 201
    with desk.database.read() as connection:
        row = connection.execute(select(VERDICTS)).one()
    assert (row.case_id, row.reader, row.kind, row.note, row.model) == (1, "Ada", "diseased", "left base", "abc123")
    assert row.time.endswith("+00:00") and '"width": 30.0' in row.marks
    shown = reader.get("/case/1").text
    assert "left base</textarea>" in shown and 'class="badge diseased"' in shown


@pytest.mark.parametrize(
    "verdict",
    [
        {"kind": "ill"},
        {},
        {"kind": "healthy", "note": "x" * 4_001},
        {"kind": "healthy", "marks": [{"x": 1}]},
        {"kind": "healthy", "marks": [{**BOX, "x": 1e9}]},
        {"kind": "healthy", "marks": [POINT] * 51},
        {"kind": "healthy", "reader": "Eve"},
    ],
)
def test_what_is_no_verdict_is_refused(reader, desk, verdict):
    assert reader.post("/case/1/verdict", json=verdict).status_code == 422
    with desk.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(VERDICTS)) == 0


def test_the_log_is_only_added_to(reader, desk):
    reader.judge(1, "healthy")
    for change in ("UPDATE verdicts SET kind = 'diseased'", "DELETE FROM verdicts"):
        with pytest.raises(IntegrityError, match="only added to"), desk.database.write() as connection:
            connection.execute(text(change))


def test_undo_brings_back_the_verdict_before(reader, desk):
    reader.judge(1, "healthy")
    reader.judge(2, "unsure")
    reader.judge(1, "diseased")
    assert reader.post("/undo").json() == {"case": 1}
    assert 'class="badge healthy"' in reader.get("/case/1").text
    assert [reader.post("/undo").json()["case"] for _ in range(3)] == [2, 1, None]
    assert "unread" in reader.get("/case/1").text
    with desk.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(VERDICTS)) == 6  # nothing is forgotten


def test_blind_readers_see_each_other_after_their_own_verdict(scored, opened, enter):
    desk, sessions = opened(scored, blind=True), Sessions()
    ada, bob = enter(desk, "Ada", sessions), enter(desk, "Bob", sessions)
    ada.judge(1, "diseased", note="seen by Ada")
    assert "seen by Ada" not in bob.get("/case/1").text
    assert rows_of(bob.get("/verdicts.csv").text) == []
    bob.judge(1, "healthy")
    assert "seen by Ada" in bob.get("/case/1").text
    assert len(rows_of(bob.get("/verdicts.csv").text)) == 2


def test_open_readers_see_each_other_at_once(desk, enter):
    sessions = Sessions()
    ada, bob = enter(desk, "Ada", sessions), enter(desk, "Bob", sessions)
    ada.judge(1, "diseased", note="seen by Ada")
    assert "seen by Ada" in bob.get("/case/1").text


def test_kappa_of_two_readers_is_that_of_the_textbook(desk, enter):
    """20 and 15 the same, 5 and 10 not: kappa 0.4 (Cohen's table of 50, scaled to the 20 cases that are here)."""
    sessions = Sessions()
    ada, bob = enter(desk, "Ada", sessions), enter(desk, "Bob", sessions)
    pairs = [("diseased", "diseased")] * 8 + [("healthy", "healthy")] * 6
    pairs += [("diseased", "healthy")] * 2 + [("healthy", "diseased")] * 4
    assert "kappa" not in ada.get("/progress").text
    for case_id, (first, second) in enumerate(pairs, start=1):
        ada.judge(case_id, first)
        bob.judge(case_id, second)
    shown = bob.get("/progress").text
    assert "14 of 20" in shown and "kappa 0.4<" in shown


def test_a_session_has_one_reader(reader):
    assert reader.post("/reader", content="name=Bob").status_code == 409
    assert reader.post("/reader", content="name=").status_code == 422


def test_without_a_name_nothing_is_written(desk, enter):
    nobody = enter(desk, "")
    assert nobody.judge(1, "healthy").status_code == 403
    assert "Who reads?" in nobody.get("/").text and "Who reads?" in nobody.get("/case/1").text


def test_one_case_in_ten_is_drawn_at_random_and_the_rest_come_from_the_top(reader, desk):
    opened = []
    while (case_id := reader.next()) is not None:
        assert reader.next() == case_id  # until it is read, whatever it is
        opened.append(case_id)
        reader.judge(case_id, "healthy")
    assert sorted(opened) == list(range(1, 25)) and len(opened) == 24
    with desk.database.read() as connection:
        drawn = list(connection.scalars(select(OPENINGS.c.case_id).where(OPENINGS.c.at_random == 1)))
        order = list(connection.scalars(select(CASES.c.id).order_by(CASES.c.draw)))
        reading = reading_of(connection, "Ada")
    assert [opened.index(case_id) for case_id in drawn] == [9, 19]
    from_top = [case_id for case_id in opened if case_id not in drawn]
    assert from_top == sorted(from_top)
    before = set(opened[:9])
    assert drawn[0] == next(case_id for case_id in order if case_id not in before)
    assert (reading.cases, sum(reading.at_random), set(reading.verdicts)) == (24, 2, {0})


def test_a_draw_that_is_not_read_yet_is_awaited_and_not_replaced(scored, opened, enter):
    desk = opened(scored, share=0.5)
    reader = enter(desk)
    reader.judge(reader.next(), "diseased")
    drawn = reader.next()
    others = [case_id for case_id in range(1, 25) if case_id != drawn][5:8]
    for case_id in others:
        reader.judge(case_id, "healthy")
    assert reader.next() == drawn
    with desk.database.read() as connection:
        assert reading_of(connection, "Ada").verdicts == (1, -1, 0, 0, 0)
    reader.judge(drawn, "unsure")
    with desk.database.read() as connection:
        assert reading_of(connection, "Ada").verdicts == (1, 2, 0, 0, 0)


def test_the_random_order_stays_when_the_server_starts_anew(scored, opened):
    orders = []
    for _ in range(2):
        with opened(scored).database.read() as connection:
            orders.append(list(connection.scalars(select(CASES.c.id).order_by(CASES.c.draw))))
    assert orders[0] == orders[1] != sorted(orders[0])


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'quoted", "plain", ""])
def test_cells_are_neutralised_and_restored(cell):
    assert not neutral(cell).startswith(("=", "+", "-", "@", "\t"))
    assert restored(neutral(cell)) == cell


def test_what_was_exported_can_be_taken_in_elsewhere_and_only_once(reader, scored, opened, enter, tmp_path):
    reader.judge(1, "diseased", note='=HYPERLINK("http://x")', marks=[BOX])
    reader.judge(2, "healthy")
    reader.post("/undo")
    exported = reader.get("/verdicts.csv")
    assert "attachment" in exported.headers["content-disposition"]
    assert "'=HYPERLINK" in rows_of(exported.text)[0]["note"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "scores.csv").write_text((scored / "scores.csv").read_text())
    bob = enter(opened(other), "Bob")
    for added in (1, 0):
        assert bob.post("/verdicts/import", content=exported.text).json() == {"added": added}
    assert rows_of(bob.get("/verdicts.csv").text)[0] == rows_of(exported.text)[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "path\nx",
        "path,verdict\n/etc/passwd,healthy",
        "path,verdict\n{path},ill",
        "path,frame,verdict\n{path},x,healthy",
        "path,verdict,time\n{path},healthy,=1+1",
    ],
)
def test_an_import_that_does_not_fit_adds_nothing(reader, desk, content):
    with desk.database.read() as connection:
        path = connection.scalar(select(CASES.c.shown_path).where(CASES.c.id == 1))
    good = f"path,verdict\n{path},healthy\n"
    answer = reader.post("/verdicts/import", content=content.replace("{path}", path))
    assert answer.status_code == 422 and "import" in answer.json()["detail"]
    assert reader.post("/verdicts/import", content=good).json() == {"added": 1}
