"""Jinja2 templates that escape everything put into them, and to which a name they do not know is an error."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def templates_of(package: str) -> Environment:
    """The templates in ``templates/`` of a package, named as Python names it."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def encodable(text: str) -> str:
    """The same text, but for bytes of a file name that are not UTF-8 (surrogates in Python), which become "?"."""
    return text.encode("utf-8", "replace").decode()
