"""The gateway's ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from ..client.client import Client
from ..settings import Settings
from . import problems
from .dependencies import Gateway
from .head import HeadAsGet
from .limits.downloads import Downloads
from .limits.drain_body import DrainBody
from .limits.uploads import Uploads
from .proxies import RootPath
from .routes import events, formats, health, jobs, results
from .subscriptions import Subscriptions


def create_app(client: Client, subscriptions: Subscriptions, settings: Settings) -> FastAPI:
    """The application, which closes `client` and `subscriptions` (both of one broker) at shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await subscriptions.close()
        client.close()

    app = FastAPI(
        title="maskq",
        summary="Queue images, get instance masks.",
        version=version("maskq"),
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would follow the request's Host header
    )
    limits = Uploads(settings.max_bytes), Downloads(settings.max_bytes), Downloads(settings.max_bytes)
    app.state.gateway = Gateway(client, subscriptions, *limits)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RootPath, prefix=settings.root_path)
    app.add_middleware(DrainBody)
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Idempotency-Key", "Content-Type", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After"],
        )
    for routes in (jobs, results, formats, events, health):
        app.include_router(routes.router)
    problems.add_exception_handlers(app)
    return app
