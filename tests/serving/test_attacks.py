"""Attacks on the page: each is refused, or does no harm."""

import re

import pytest
from sqlalchemy import func, select

from fixtures.review_clients import HOST, stranger
from fixtures.scored_folders import write_table
from healthygan.common.errors import InputError
from healthygan.serving import doors
from healthygan.serving.database import VERDICTS
from healthygan.serving.guard import SMALL
from healthygan.serving.server import serve
from healthygan.serving.sessions import FAILURES, Sessions

SCRIPT = "<script>alert(1)</script>"
PATHS = ("/", "/case/1", "/case/1/pixels", "/case/1/overlay", "/case/1/thumbnail", "/verdicts.csv", "/progress")


def kept(desk) -> int:
    with desk.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(VERDICTS))


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_a_session(desk, path):
    assert stranger(desk).get(path).status_code == 401


def test_a_wrong_token_and_a_wrong_cookie_are_refused(desk):
    for token in ("", "x", "x" * 43):
        client = stranger(desk)
        assert client.get(f"/enter?token={token}").status_code == 403
        client.cookies.set("healthygan_review", token)
        assert client.get("/").status_code == 401


def test_a_stolen_link_is_good_for_nothing_once_it_was_used(desk):
    sessions = Sessions()
    link = f"/enter?token={sessions.token}"
    assert stranger(desk, sessions).get(link).status_code == 200
    assert stranger(desk, sessions).get(link).status_code == 403
    assert stranger(desk, sessions).get(f"/enter?token={sessions.token}").status_code == 200  # the next one


def test_the_cookie_is_kept_from_scripts_and_other_sites(desk):
    sessions = Sessions()
    set_cookie = stranger(desk, sessions).get(f"/enter?token={sessions.token}").headers["set-cookie"]
    assert "HttpOnly" in set_cookie and "SameSite=strict" in set_cookie and "Domain" not in set_cookie


def test_a_token_of_another_session_is_no_csrf_token(desk, enter):
    sessions = Sessions()
    ada, eve = enter(desk, "Ada", sessions), enter(desk, "Eve", sessions)
    assert ada.post("/case/1/verdict", json={"kind": "healthy"}, headers={"x-csrf-token": eve.csrf}).status_code == 403
    assert kept(desk) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "é"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("address", ["/case/1/verdict", "/undo", "/next", "/reader", "/verdicts/import"])
def test_another_site_writes_nothing(reader, desk, address, headers):
    headers = {name: value.encode() for name, value in headers.items()}
    assert reader.post(address, json={"kind": "healthy"}, headers=headers).status_code == 403
    assert kept(desk) == 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8731", "127.0.0.1", "127.0.0.1:80", "localhost:1", ""])
def test_a_host_of_another_name_is_not_answered(reader, host):
    for path in ("/", "/enter?token=x", "/static/review.css"):
        assert reader.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/app.py",
        "/case/../../etc/passwd",
        "/case/..%2f..%2fetc%2fpasswd/pixels",
        "/case//etc/passwd/pixels",
        "/case/1%00/pixels",
        "/case/1/pixels/../../../etc/passwd",
        "/maps/x.png",
        "/scores.csv",
        "/openapi.json",
        "/docs",
    ],
)
def test_no_path_is_opened(reader, path):
    answer = reader.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text and "import" not in answer.text


def test_names_patients_remarks_and_notes_stay_text(tmp_path, opened, enter):
    name = f"/pile/{SCRIPT}\"'.png"
    write_table(tmp_path / "scores.csv", [(1, name, 0, "0.5", "", "", "", SCRIPT, f"{SCRIPT}\" onload='x", "")])
    reader = enter(opened(tmp_path), f"{SCRIPT}")
    reader.judge(1, "diseased", note=f"</textarea>{SCRIPT}")
    for path in ("/", "/?group=1", "/case/1", "/?search=%3Cscript%3E", "/progress"):
        shown = reader.get(path).text
        assert SCRIPT not in shown and "onload='" not in shown
        assert all('src="/static/' in tag for tag in re.findall(r"<script[^>]*>", shown))
    assert reader.get("/verdicts.csv").headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize("path", ["/", "/case/1", "/case/1/thumbnail", "/static/case.js", "/nowhere"])
def test_every_answer_forbids_scripts_from_elsewhere_frames_and_guessing(reader, path):
    headers = reader.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    if not path.startswith("/static/"):
        assert headers["cache-control"] == "no-store"


def test_a_note_of_10_mb_is_refused_unread(reader, desk):
    assert reader.judge(1, "healthy", note="x" * 10_000_000).status_code == 413

    def unannounced():
        for _ in range(10):
            yield b'{"kind": "healthy", "note": "' + b"x" * SMALL

    answer = reader.post("/case/1/verdict", content=unannounced(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert kept(desk) == 0


@pytest.mark.parametrize("length", ["-1", "x", "1e3"])
def test_a_senseless_length_is_refused(reader, length):
    assert reader.post("/undo", headers={"content-length": length}).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(reader, method):
    assert reader.client.request(method, "/").status_code == 405


def test_what_fails_is_logged_without_names(reader, desk, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise RuntimeError("/pile/Jane_Doe.png")

    monkeypatch.setattr(type(desk.decoder), "frame", broken)
    answer = reader.get("/case/1/pixels?patient=Jane_Doe")
    assert answer.status_code == 500
    assert "RuntimeError" in caplog.text and "pictures.py" in caplog.text
    assert "Jane" not in caplog.text + answer.text


def test_an_error_does_not_repeat_what_was_sent(reader):
    assert "Jane" not in reader.post("/case/1/verdict", json={"kind": "Jane Doe"}).text


def test_a_password_is_asked_for_where_links_are_good_for_nothing(desk, monkeypatch):
    monkeypatch.setattr(doors, "WAIT", 0.0)
    sessions = Sessions(password="correct horse battery")
    client = stranger(desk, sessions)
    assert client.get("/").headers["location"] == "/login"
    assert client.get(f"/enter?token={sessions.token}").status_code == 403
    origin = {"origin": f"http://{HOST}"}
    assert client.post("/login", content="password=correct+horse+battery").status_code == 403  # from nowhere
    assert client.post("/login", content="password=guess", headers=origin).status_code == 403
    assert client.get("/").status_code == 303
    assert client.post("/login", content="password=correct+horse+battery", headers=origin).status_code == 200
    assert client.get("/").status_code == 200


def test_guessing_passwords_is_stopped(desk, monkeypatch):
    monkeypatch.setattr(doors, "WAIT", 0.0)
    client, origin = stranger(desk, Sessions(password="correct horse battery")), {"origin": f"http://{HOST}"}
    tries = [client.post("/login", content="password=guess", headers=origin).status_code for _ in range(FAILURES + 1)]
    assert tries == [403] * FAILURES + [429]
    assert client.post("/login", content="password=correct+horse+battery", headers=origin).status_code == 429


@pytest.mark.parametrize("password", [None, "", "short"])
def test_other_machines_are_let_in_with_a_password_alone(scored, password):
    with pytest.raises(InputError, match=r"host=0\.0\.0\.0.*HEALTHYGAN_REVIEW_PASSWORD.*TLS"):
        serve(scored, host="0.0.0.0", password=password)
    assert not (scored / "review.sqlite").exists()


def test_a_certificate_needs_its_key(scored, tmp_path):
    with pytest.raises(InputError, match="give both"):
        serve(scored, certificate=tmp_path / "cert.pem")
