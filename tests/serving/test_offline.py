"""``worklist.html`` needs nothing, shows the top, and lets no name become a script."""

import base64
import hashlib
import re

from fixtures.scored_folders import write_table
from healthygan.serving.offline import MOST, write_worklist


def test_it_holds_the_top_cases_with_their_pictures_and_loads_nothing(scored):
    page = write_worklist(scored).read_text()
    assert page.count("<tr data-path") == 24 and page.count("data:image/jpeg;base64,") == 24
    assert "P003" in page and "unlike training" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_only_its_own_script_may_run(scored):
    page = write_worklist(scored).read_text()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src &#39;sha256-{digest}" in page.replace("'", "&#39;")


def test_names_stay_text_and_images_may_be_missing(tmp_path):
    name = "/pile/<script>alert(1)</script>\"'.png"
    write_table(tmp_path / "scores.csv", [(n, name, n, "0.5", "", "", "", "<b>", "", "") for n in range(MOST + 5)])
    page = write_worklist(tmp_path).read_text()
    assert page.count("<script") == 1 and "<b>" not in page and page.count("<tr data-path") == MOST
    assert "data:image" not in page
