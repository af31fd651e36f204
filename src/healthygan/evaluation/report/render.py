"""Jinja2 templates to HTML: everything put into them is escaped, and a name they do not know is an error."""

import base64
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The templates of ``templates/``, with the filter ``data_url`` for pictures."""
    templates = Environment(
        loader=PackageLoader("healthygan.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["data_url"] = data_url
    return templates


def render(template: str, **context: object) -> str:
    """A template filled in; bytes of a file name that are not UTF-8 (surrogates in Python) become "?".

    Raises:
        jinja2.UndefinedError: the template asks for what ``context`` does not hold.
    """
    return environment().get_template(template).render(context).encode("utf-8", "replace").decode()


def data_url(png: bytes) -> str:
    """A PNG file's bytes as an address that holds them."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
