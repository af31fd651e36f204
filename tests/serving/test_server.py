"""The command from the outside: it says where the page is, keeps what it acknowledged, and stops when it is told."""

import threading
import time
from itertools import count

import httpx

from fixtures.review_server import Server, running
from healthygan.cli.main import main
from healthygan.cli.verbs import review
from healthygan.serving import server as library


def test_what_the_command_spells_out_is_what_the_library_has() -> None:
    assert (review.HERE, review.PORT) == (library.HERE, library.PORT)


def verdicts_of(client: httpx.Client) -> list[str]:
    return client.get("/verdicts.csv").text.splitlines()[1:]


def test_every_acknowledged_verdict_survives_a_killed_server(scored):
    acknowledged: list[str] = []
    for _ in range(2):
        with running(scored, "--reader", "Ada") as server:
            client = server.client()
            judging = threading.Thread(target=judge_until_it_fails, args=(client, acknowledged))
            judging.start()
            time.sleep(1.0)
            server.kill()
            judging.join()
    with running(scored, "--reader", "Ada") as server:
        kept = "\n".join(verdicts_of(server.client()))
        assert len(acknowledged) > 10
        assert [note for note in acknowledged if f",{note}," not in kept] == []


def judge_until_it_fails(client: httpx.Client, acknowledged: list[str]) -> None:
    start = len(acknowledged)
    for n in count(start):
        try:
            note = f"note {n}"
            if client.post(f"/case/{n % 24 + 1}/verdict", json={"kind": "unsure", "note": note}).status_code == 201:
                acknowledged.append(note)
        except httpx.HTTPError:
            return


def test_it_says_how_to_open_the_page_and_stops_at_ctrl_c(scored):
    server = Server(scored)
    client = server.client("Ada")
    assert client.get("/").status_code == 200
    assert server.stop() == 0
    assert "24 images to read" in server.said[0] and "phantom" not in "\n".join(server.said)


def test_what_users_get_wrong_is_one_line(tmp_path, scored, capsys):
    assert main(["review", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["review", str(tmp_path)]) == 2
    assert "holds no ranked pile" in capsys.readouterr().err
    assert main(["review", str(scored), "--host", "0.0.0.0"]) == 2
    assert "--host 0.0.0.0: others can reach it there" in capsys.readouterr().err
    assert main(["review", str(scored), "--share", "1"]) == 2
    assert "--share 1.0: must lie in" in capsys.readouterr().err
    (tmp_path / "scores.csv").write_text("rank,path,frame,score\n1,a.png,0,high\n")
    assert main(["review", str(tmp_path)]) == 2
    assert "damaged behind row 1" in capsys.readouterr().err
    with running(scored) as server:
        assert main(["review", str(scored), "--port", server.address.rsplit(":", 1)[1]]) == 2
        assert "cannot be used" in capsys.readouterr().err
