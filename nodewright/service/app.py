"""The application: built by a function from what it is given, so that importing it does nothing."""

from importlib.metadata import version

from fastapi import FastAPI

from nodewright.page import routes as page
from nodewright.page.headers import Guarded
from nodewright.service import health, problems, routes
from nodewright.service.deps import ServiceDeps
from nodewright.service.openapi import documented
from nodewright.service.tracing import Tracing


def create_app(deps: ServiceDeps) -> FastAPI:
    """Return the service as an ASGI application."""
    app = FastAPI(
        title="Nodewright",
        version=version("nodewright"),
        docs_url=None,  # its page loads scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = documented(app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    app.state.deps = deps
    app.add_middleware(Tracing, log=deps.log)
    app.add_middleware(Guarded)
    problems.install(app)
    for part in (routes, health, page):
        part.install(app)
    return app
