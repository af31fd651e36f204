"""Templates to pages."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from fastapi import Request
from jinja2 import Environment
from starlette.responses import HTMLResponse

from healthygan.common.templates import encodable, templates_of
from healthygan.serving.sessions import Session

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
HTMX = {
    "allowEval": False,
    "historyCacheSize": 0,  # it would keep names of patients in the browser's store
    "refreshOnHistoryMiss": True,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
}


@cache
def environment() -> Environment:
    """The templates of ``templates/``, with filters for numbers, JSON and choices."""
    templates = templates_of("healthygan.serving")
    templates.filters["number"] = number
    templates.filters["list_twice"] = lambda text: (text, text)
    templates.filters["json"] = json.dumps  # escaped like any other text: for attributes
    templates.globals["htmx_settings"] = HTMX
    return templates


def session_of(request: Request) -> Session:
    """Whose request it is; the guard lets no other through."""
    session: Session = request.state.session
    return session


def page(
    request: Request, template: str, context: Mapping[str, object] = MappingProxyType({}), status: int = 200
) -> HTMLResponse:
    """A template filled in."""
    session: Session | None = request.state.session
    known = {"session": session, **context}
    return HTMLResponse(encodable(environment().get_template(template).render(known)), status)


def number(value: float | None) -> str:
    """Four digits that mean something; a dash for nothing."""
    return "–" if value is None else f"{value:.4g}"


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """What the pages load, by name: its bytes and its type. Nothing else is ever read on request."""
    folder = resources.files("healthygan.serving") / "static"
    return {
        file.name: (file.read_bytes(), TYPES["." + file.name.rsplit(".", 1)[1]])
        for file in folder.iterdir()
        if file.is_file() and "." + file.name.rsplit(".", 1)[1] in TYPES
    }
