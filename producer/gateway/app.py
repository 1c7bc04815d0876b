"""The gateway's application: routes, errors, and what ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from ..client.client import Client
from ..settings import Settings
from . import problems
from .dependencies import Gateway
from .limits.downloads import Results
from .limits.drain_body import DrainBody
from .limits.uploads import Uploads
from .routes import health as operating
from .routes import jobs
from .subscriptions import Subscriptions


def create_app(client: Client, news: Subscriptions, settings: Settings) -> FastAPI:
    """The app on a client of the broker and that broker's news; it closes both when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await news.close()
        client.close()

    app = FastAPI(
        title="maskq", summary="Queue images, get instance masks.", version=version("maskq"), lifespan=lifespan
    )
    app.state.gateway = Gateway(client, news, Uploads(settings.max_bytes), Results(settings.max_bytes))
    app.add_middleware(DrainBody)
    for routes in (jobs.router, operating.router):
        app.include_router(routes)
    problems.install(app)
    return app
