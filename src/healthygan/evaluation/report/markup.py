"""The HTML that every part of the page is made of: escaped text, sections, tables, embedded pictures."""

import base64
from html import escape


def section(anchor: str, title: str, content: str) -> str:
    """A part of the page under a heading; ``content`` is HTML."""
    return f'<section id="{anchor}"><h2>{title}</h2>{content}</section>\n'


def table(head: str, rows: str, style: str = "") -> str:
    """A table that scrolls where the screen is narrow; ``head`` are its cells, ``rows`` its rows, as HTML."""
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def safe(text: str) -> str:
    """Escaped for HTML; bytes of a file name that are not UTF-8 (surrogates in Python) become "?"."""
    return escape(text.encode("utf-8", "replace").decode())


def data_url(picture: bytes) -> str:
    """A PNG file's bytes as an address that holds them."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
