"""`healthygan review` under load: 100,000 images, many readers at once, and a server that is killed again and again.

    python benchmarks/review_load.py [--images 100000] [--readers 20] [--seconds 60] [--kills 50]

Exits with 1 where a limit is missed: the first page within 300 ms, a next one within 150 ms, 400 MB of memory, no
error, and every acknowledged verdict kept.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fixtures.review_server import Server, running
from fixtures.scored_folders import write_names

PART = {"hx-request": "true"}
REPEATS = 20
FIRST_MS, NEXT_MS, MOST_MB = 300, 150, 400
QUERIES = (
    "page=2",
    "page=1000",
    "sort=score&page=900",
    "group=1&page=40",
    "search=P0001",
    "verdict=unread&page=7",
    "cut=600",
)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"images": 100_000, "readers": 20, "seconds": 60, "kills": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = write_names(Path(folder), options.images)
        passed = [_pages(scores), _crowd(scores, options.readers, options.seconds), _kills(scores, options.kills)]
    return int(not all(passed))


def _pages(scores: Path) -> bool:
    start = time.perf_counter()
    with running(scores, "--reader", "Ada") as server:
        print(f"indexed and started in {time.perf_counter() - start:.1f} s")
        client = server.client()
        first = _milliseconds(lambda: client.get("/"))
        print(f"first page {first:.0f} ms (limit {FIRST_MS})")
        slowest = 0.0
        for query in QUERIES:
            busy = _processor_ms(server)
            times = [_milliseconds(lambda q=query: client.get(f"/?{q}", headers=PART)) for _ in range(REPEATS)]
            busy = (_processor_ms(server) - busy) / REPEATS
            slowest = max(slowest, median(times))
            print(f"  {query:<24} {median(times):.0f} ms, {busy:.0f} ms of a processor")
        memory = _memory_mb(server)
        print(f"slowest of the next pages {slowest:.0f} ms (limit {NEXT_MS}); {memory:.0f} MB (limit {MOST_MB})")
    return first <= FIRST_MS and slowest <= NEXT_MS and memory <= MOST_MB


def _processor_ms(server: Server) -> float:
    """Time of a processor that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _milliseconds(work: Callable[[], httpx.Response]) -> float:
    start = time.perf_counter()
    work().raise_for_status()
    return 1000 * (time.perf_counter() - start)


def _memory_mb(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _crowd(scores: Path, readers: int, seconds: int) -> bool:
    """Readers who take the next case, look at the list and judge, as fast as they can."""
    given: list[str] = []
    errors: list[str] = []
    with running(scores) as server:
        clients = [server.client(f"reader {n}") for n in range(readers)]
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=_read, args=(client, n, until, given, errors)) for n, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lost = _lost(clients[0], given)
        memory = _memory_mb(server)
    print(
        f"{readers} readers, {seconds} s: {len(given):,} verdicts, {len(errors)} errors, {lost} lost; {memory:.0f} MB"
    )
    for error in errors[:3]:
        print(" ", error)
    return not errors and not lost and memory <= MOST_MB


def _read(client: httpx.Client, number: int, until: float, given: list[str], errors: list[str]) -> None:
    count = 0
    while time.monotonic() < until:
        try:
            case_id = client.post("/next").raise_for_status().json()["case"]
            client.get(f"/case/{case_id}?queue=1").raise_for_status()
            note = f"crowd {number} {count}"
            client.post(f"/case/{case_id}/verdict", json={"kind": "healthy", "note": note}).raise_for_status()
            given.append(note)
            count += 1
        except httpx.HTTPError as error:
            errors.append(repr(error))
            return


def _kills(scores: Path, kills: int) -> bool:
    """Verdicts stream in while the server is killed; what was acknowledged is there afterwards."""
    chance = random.Random(0)
    given: list[str] = []
    for number in range(kills):
        with running(scores, "--reader", "Kay") as server:
            client = server.client()
            streaming = threading.Thread(target=_stream, args=(client, number, given))
            streaming.start()
            time.sleep(chance.uniform(0.05, 0.8))
            server.kill()
            streaming.join()
    with running(scores, "--reader", "Kay") as server:
        lost = _lost(server.client(), given)
    print(f"killed {kills} times: {len(given):,} verdicts acknowledged, {lost} lost")
    return not lost


def _stream(client: httpx.Client, kill: int, given: list[str]) -> None:
    for count in range(1_000_000):
        try:
            note = f"kill {kill} {count}"
            client.post(f"/case/{count + 1}/verdict", json={"kind": "unsure", "note": note}).raise_for_status()
            given.append(note)
        except httpx.HTTPError:
            return


def _lost(client: httpx.Client, given: list[str]) -> int:
    kept = client.get("/verdicts.csv", timeout=600).text
    return sum(f",{note}," not in kept for note in given)


if __name__ == "__main__":
    sys.exit(main())
