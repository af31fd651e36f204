"""A scored folder of phantoms, and browsers without a screen at its page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.review_clients import Reader, stranger
from fixtures.scored_folders import write_scored_folder
from healthygan.serving.desk import Desk, open_desk
from healthygan.serving.sessions import Sessions


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it; ``scored`` is a copy to write to."""
    return write_scored_folder(tmp_path_factory.mktemp("scored"))


@pytest.fixture
def scored(phantoms: Path, tmp_path: Path) -> Path:
    """The same table, maps and images, without verdicts."""
    folder = tmp_path / "scored"
    folder.mkdir()
    for name in ("scores.csv", "model.json", "scored_with.json", "maps"):
        (folder / name).symlink_to(phantoms / name)
    return folder


@pytest.fixture
def opened() -> Iterator[Callable[..., Desk]]:
    """Opens desks, and closes them in the end."""
    desks: list[Desk] = []

    def open_one(folder: Path, **options: object) -> Desk:
        desks.append(open_desk(folder, **options))
        return desks[-1]

    yield open_one
    for desk in desks:
        desk.database.close()


@pytest.fixture
def enter() -> Callable[..., Reader]:
    """Lets a reader in at a desk; several at one where ``sessions`` are given."""

    def enter_one(desk: Desk, name: str = "Ada", sessions: Sessions | None = None) -> Reader:
        sessions = sessions or Sessions()
        client = stranger(desk, sessions)
        assert client.get(f"/enter?token={sessions.token}").status_code == 200
        return Reader(client, name)

    return enter_one


@pytest.fixture
def desk(scored: Path, opened: Callable[..., Desk]) -> Desk:
    return opened(scored)


@pytest.fixture
def reader(desk: Desk, enter: Callable[..., Reader]) -> Reader:
    return enter(desk)
