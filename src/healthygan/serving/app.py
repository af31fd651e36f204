"""The pages of one pile behind their guard, as an ASGI application."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import PlainTextResponse, Response

from healthygan.serving.desk import Desk
from healthygan.serving.doors import doors
from healthygan.serving.guard import Guard
from healthygan.serving.pages import pages
from healthygan.serving.pictures import pictures
from healthygan.serving.sessions import Sessions
from healthygan.serving.writes import writes


def build_app(
    desk: Desk,
    sessions: Sessions,
    hosts: frozenset[str],
    *,
    cookie: str = "healthygan_review",
    scheme: str = "http",
    on_entry: Callable[[], None] = lambda: None,
) -> Guard:
    """Put it together.

    Args:
        hosts: values of the header Host that are answered, with the port.
        cookie: name of the session's cookie; servers of one machine share their cookies.
        scheme: http or https.
        on_entry: called when a link was used up.
    """
    app = FastAPI(title="HealthyGAN, the reader's page", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(doors(sessions, cookie, scheme == "https", on_entry))
    for routes in (pages, pictures, writes):
        app.include_router(routes(desk))

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> Response:
        """Say what is wrong, but not what was sent."""
        told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3])
        return PlainTextResponse(told[:500], 422)

    return Guard(app, sessions, hosts, cookie, scheme)
