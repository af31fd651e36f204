"""The page in a real browser, where there is one."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.review_server import Server, running
from fixtures.scored_folders import write_scored_folder
from healthygan.serving.offline import write_worklist

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage"),
)
SHOTS = os.environ.get("HEALTHYGAN_SCREENSHOTS")
"""A folder to put pictures of the page into."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: install it to test the page in a browser")
DESK, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}
AVERAGE = """() => { const c = document.getElementById('viewer');
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let sum = 0;
  for (let n = 0; n < d.length; n += 4) sum += d[n] + 2 * d[n + 1] + 3 * d[n + 2];
  return sum / d.length; }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(write_scored_folder(tmp_path_factory.mktemp("page"), count=24, size=256), "--blind") as started:
        yield started


@pytest.fixture
def visit(browser, server):
    """Opens the worklist as a new reader; whatever the page complains of in its console fails the test."""
    contexts, complaints = [], []

    def enter(name: str, size: dict[str, int] = DESK, link: str = ""):
        contexts.append(browser.new_context(viewport=size, color_scheme="light", accept_downloads=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(link or server.link())
        page.wait_for_url("**/")
        page.fill("#name", name)
        page.click("text=Begin")
        page.wait_for_selector(".cases")
        page.wait_for_load_state()  # keys work once the scripts are there
        return page

    yield enter
    for context in contexts:
        context.close()
    assert complaints == []


def open_case(page, number: int = 1) -> None:
    page.goto(page.url.split("/case")[0].split("?")[0].rstrip("/") + f"/case/{number}")
    ready(page)


def ready(page) -> None:
    page.wait_for_selector("body[data-shown]")
    until(page, "document.getElementById('readout').textContent !== ''")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def until(page, condition: str) -> None:
    """Wait for it. Playwright's own waiting is eval, which the page's policy forbids."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if page.evaluate(condition):
                return
        except playwright.Error as error:  # the page is being left
            if "navigation" not in str(error) and "context" not in str(error):
                raise
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def shot(page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def settled(page) -> float:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(AVERAGE)


def test_the_worklist_is_filtered_and_sorted_in_place(visit):
    page = visit("Ada")
    assert page.locator(".cases tbody tr").count() == 24
    until(page, "[...document.images].slice(0, 5).every((image) => image.complete && image.naturalWidth)")
    shot(page, "worklist")
    page.fill("#search", "P003")
    until(page, "document.querySelectorAll('.cases tbody tr').length === 2")
    page.fill("#search", "")
    until(page, "document.querySelectorAll('.cases tbody tr').length === 24")
    page.click("thead >> text=patient")
    page.wait_for_selector("th[aria-sort]:has-text('patient')")
    page.select_option("select[name=flagged]", "no")
    until(page, "document.querySelectorAll('.cases tbody tr').length === 12")
    assert "sort=patient" in page.url and "flagged=no" in page.url
    page.reload()
    assert page.locator(".cases tbody tr").count() == 12
    page.locator("#cut").press("Home")
    page.wait_for_selector("text=No case is left")


def test_ten_cases_are_read_by_keys_alone(visit):
    page = visit("Bea")
    page.keyboard.press("s")
    for number in range(10):
        page.wait_for_url(re.compile(r"/case/\d+\?queue=1$"))
        ready(page)
        before = page.url
        page.keyboard.press("2" if number < 6 else "1")
        until(page, f"location.href !== '{before}'")
    ready(page)
    page.keyboard.press("Escape")
    page.wait_for_selector(".cases")
    assert page.inner_text("#read") == "10"
    page.reload()
    assert page.inner_text("#read") == "10"
    page.select_option("select[name=verdict]", "diseased")
    until(page, "document.querySelectorAll('.cases tbody tr').length === 6")


def test_dragging_changes_the_window_and_keys_invert_and_reset_it(visit):
    page = visit("Cyd")
    open_case(page)
    assert "16 bit" in page.inner_text("#readout")
    first, readout = settled(page), page.inner_text("#readout")
    box = page.locator("#viewer").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - 60, middle[1] + 150, steps=4)
    page.mouse.up()
    dragged = settled(page)
    assert abs(dragged - first) > 5 and page.inner_text("#readout") != readout
    page.keyboard.press("i")
    assert settled(page) != dragged
    page.keyboard.press("i")
    page.keyboard.press("r")
    assert settled(page) == pytest.approx(first, abs=0.5)
    page.keyboard.press("a")
    assert settled(page) != pytest.approx(first, abs=0.5)


def test_the_map_is_switched_and_weakened(visit):
    page = visit("Dan")
    open_case(page)
    shot(page, "case")
    on = settled(page)
    page.keyboard.press("o")
    off = settled(page)
    page.keyboard.press("o")
    assert off != on == settled(page)
    for _ in range(7):
        page.keyboard.press("[")
    assert settled(page) == pytest.approx(off, abs=0.3)


def test_the_wheel_zooms_and_the_image_fits_again(visit):
    page = visit("Eve")
    open_case(page)
    fitting = page.inner_text("#readout")
    page.locator("#viewer").hover()
    page.mouse.wheel(0, -300)
    settled(page)
    assert page.inner_text("#readout") != fitting
    page.keyboard.press("f")
    settled(page)
    assert page.inner_text("#readout") == fitting


def test_a_box_a_note_and_the_verdict_survive_a_reload_and_can_be_undone(visit):
    page = visit("Fay")
    open_case(page, 2)
    page.uncheck("#advance")
    page.keyboard.press("b")
    box = page.locator("#viewer").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=3)
    page.mouse.up()
    page.keyboard.press("e")
    page.keyboard.type("2 nodules, <b>left</b>")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.wait_for_selector("#own .diseased")
    ready(page)
    page.reload()
    ready(page)
    assert page.input_value("#note") == "2 nodules, <b>left</b>"
    assert page.evaluate("JSON.parse(document.getElementById('main').dataset.case).marks.length") == 1
    shot(page, "marked")
    page.keyboard.press("u")
    page.wait_for_selector("#own .unread")


def test_a_second_reader_is_blind_until_the_own_verdict(visit):
    pages = [visit(name) for name in ("Gil", "Hal")]
    for page in pages:
        open_case(page, 3)
        page.uncheck("#advance")
    pages[0].keyboard.press("2")
    pages[0].wait_for_selector("#own .diseased")
    pages[1].reload()
    ready(pages[1])
    assert "Gil" not in pages[1].inner_text("aside")
    pages[1].keyboard.press("1")
    pages[1].wait_for_selector("#own .healthy")
    assert "Gil" in pages[1].inner_text(".others")
    pages[1].keyboard.press("Escape")
    pages[1].wait_for_selector(".agreement >> text=Gil")


def test_verdicts_are_exported_and_taken_in(visit, tmp_path):
    page = visit("Ivy")
    open_case(page, 4)
    page.uncheck("#advance")
    page.keyboard.press("3")
    page.wait_for_selector("#own .unsure")
    page.keyboard.press("Escape")
    page.wait_for_selector(".cases")
    with page.expect_download() as download:
        page.click("text=Export verdicts")
    content = Path(download.value.path()).read_text()
    assert "Ivy,unsure" in content
    changed = tmp_path / "more.csv"
    changed.write_text(content.replace("Ivy,unsure", "Joe,healthy"))
    page.set_input_files("#import", changed)
    page.wait_for_selector("text=verdicts taken in")


def test_keys_are_shown_and_can_be_switched_off(visit):
    page = visit("Kim")
    open_case(page)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] >> text=not assessable")
    shot(page, "keys")
    page.uncheck("dialog input[type=checkbox]")
    page.click("dialog >> text=Close")
    before = settled(page)
    page.keyboard.press("i")
    assert settled(page) == before
    page.keyboard.press("?")
    page.check("dialog input[type=checkbox]")


def test_it_can_be_read_on_a_phone(visit):
    page = visit("Lea", PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "phone_worklist")
    page.click("text=Start reading")
    page.wait_for_url("**/case/*")
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "phone_case")
    kinds = page.locator("[data-kind]")
    for n in range(kinds.count()):
        box = kinds.nth(n).bounding_box()
        assert box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
        assert box["y"] + box["height"] <= PHONE["height"]
    before = page.url
    kinds.nth(0).click()
    until(page, f"location.href !== '{before}'")


def test_the_page_without_a_server_sorts_keeps_and_exports_verdicts(browser, visit, scored):
    page = browser.new_context(accept_downloads=True).new_page()
    page.goto(write_worklist(scored).as_uri())
    page.select_option("tbody tr:first-child select", "diseased")
    page.reload()
    assert page.input_value("tbody tr:first-child select") == "diseased"
    page.click("thead >> text=score")
    assert "phantom_023" in page.inner_text("tbody tr:first-child")
    with page.expect_download() as download:
        page.click("#export")
    exported = Path(download.value.path())
    assert "phantom_000.png" in exported.read_text() and "diseased" in exported.read_text()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, scheme):
    """WCAG AA: 4.5 to 1 for all texts of the worklist and of a case."""
    page = visit("Mia")
    page.emulate_media(color_scheme=scheme)
    faint = page.evaluate(CONTRAST)
    open_case(page)
    shot(page, f"case_{scheme}")
    assert faint + page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.offsetParent || node.closest('.hidden, script')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((p, q) => q - p);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${node.className || node.tagName}: ${node.textContent.trim()}`);
  }
  return faint;
}"""
