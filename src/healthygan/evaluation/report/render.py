"""The report's templates filled in."""

import base64
from functools import cache

from jinja2 import Environment

from healthygan.common.templates import encodable, templates_of


@cache
def environment() -> Environment:
    """The templates of ``templates/``, with the filter ``data_url`` for pictures."""
    templates = templates_of("healthygan.evaluation.report")
    templates.filters["data_url"] = data_url
    return templates


def render(template: str, **context: object) -> str:
    """A template filled in; bytes of a file name that are not UTF-8 (surrogates in Python) become "?".

    Raises:
        jinja2.UndefinedError: the template asks for what ``context`` does not hold.
    """
    return encodable(environment().get_template(template).render(context))


def data_url(png: bytes) -> str:
    """A PNG file's bytes as an address that holds them."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
