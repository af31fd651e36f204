"""``healthygan review``."""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from healthygan.cli.options import Parser
from healthygan.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

SUMMARY = "open a page to read a ranked pile on"
PASSWORD = "HEALTHYGAN_REVIEW_PASSWORD"
# Spelt out: --help need not load what they are for.
HERE = ("127.0.0.1", "localhost", "::1")
PORT = 8731


def add_options(parser: Parser) -> None:
    """What is read, by whom, and where the page is."""
    parser.add_argument(
        "scores", type=Path, metavar="SCORES", help="folder that score wrote, or a run whose pile was ranked"
    )
    parser.add_argument("--reader", default="", metavar="NAME", help="whose verdicts they are (default: the page asks)")
    parser.add_argument("--blind", action="store_true", help="show others' verdicts on a case only after one's own")
    parser.add_argument(
        "--share", type=float, default=0.1, metavar="SHARE", help="of the cases, drawn at random (default: 0.1)"
    )
    parser.add_argument("--host", default=HERE[0], help=f"address to listen at (default: {HERE[0]}: this machine)")
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes a free one (default: {PORT})")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        dest="names",
        metavar="HOST",
        help="further name of this server; repeatable",
    )
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="speak TLS, with --key")
    parser.add_argument("--key", type=Path, metavar="PEM", help="of the certificate")


def run(options: argparse.Namespace, console: "Console") -> None:
    """Serve the page until Ctrl-C."""
    try:
        from healthygan.serving.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("healthygan"):
            raise
        raise InputError(f"{error.name} is not installed: pip install 'healthygan[review]'") from error

    def tell(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    try:
        serve(
            options.scores,
            host=options.host,
            port=options.port,
            names=tuple(options.names),
            password=_password(options.host),
            certificate=options.certificate,
            key=options.key,
            reader=options.reader,
            blind=options.blind,
            share=options.share,
            tell=tell,
        )
    except KeyboardInterrupt:
        tell("stopped; every verdict is kept")


def _password(host: str) -> str | None:
    """None for this machine alone; else from the environment, or asked for."""
    if host in HERE:
        return None
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    return getpass.getpass("password for readers: ") if sys.stdin.isatty() else None
