"""Templates escape what is put into them, know no undefined names, and travel with the package."""

import re
import tomllib
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from healthygan.evaluation.report.render import data_url, environment, render

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "src/healthygan/evaluation/report/templates"


def test_what_is_put_into_a_template_is_escaped() -> None:
    assert environment().from_string("<p>{{ name }}</p>").render(name="<b>") == "<p>&lt;b&gt;</p>"


def test_every_template_compiles_and_none_switches_escaping_off() -> None:
    names = environment().list_templates()
    assert names == ["components.html", "report.html", "style.css"]
    for name in names:
        environment().get_template(name)
        source = (TEMPLATES / name).read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape", source)


def test_a_name_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'evaluation' is undefined"):
        render("report.html")


def test_a_template_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TemplateNotFound, match=r"absent\.html"):
        render("absent.html")


def test_a_picture_becomes_an_address_that_holds_it() -> None:
    assert data_url(b"\x89PNG") == "data:image/png;base64,iVBORw=="


def test_components_serve_a_page_of_their_own() -> None:
    template = environment().from_string(
        '{% from "components.html" import alert, section, table %}'
        '{{ alert("Mind", []) }}'
        '{% call section("x", "<X>") %}{{ table(["a", "b"], [["<1>", "2"]], notes={"b": "n"}) }}{% endcall %}'
    )
    page = "".join(template.render().splitlines())
    assert "Mind" not in page
    assert page.startswith('<section id="x"><h2>&lt;X&gt;</h2><div class="scroll"><table><thead>')
    assert "<tr><th>a</th><th>b<small>n</small></th></tr>" in page
    assert '<tr><th scope="row">&lt;1&gt;</th><td>2</td></tr>' in page


def test_templates_are_package_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["healthygan"]
    packed = {path for pattern in patterns for path in (ROOT / "src/healthygan").glob(pattern)}
    assert set(TEMPLATES.iterdir()) <= packed
