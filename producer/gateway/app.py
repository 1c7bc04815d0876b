"""The gateway's ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from ..client.client import Client
from ..settings import Settings
from . import problems
from .dependencies import Gateway
from .limits.downloads import Downloads
from .limits.drain_body import DrainBody
from .limits.uploads import Uploads
from .routes import events, health, jobs, results
from .subscriptions import Subscriptions


def create_app(client: Client, subscriptions: Subscriptions, settings: Settings) -> FastAPI:
    """The application, which closes `client` and `subscriptions` (both of one broker) at shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await subscriptions.close()
        client.close()

    app = FastAPI(
        title="maskq", summary="Queue images, get instance masks.", version=version("maskq"), lifespan=lifespan
    )
    app.state.gateway = Gateway(client, subscriptions, Uploads(settings.max_bytes), Downloads(settings.max_bytes))
    app.add_middleware(DrainBody)
    for routes in (jobs, results, events, health):
        app.include_router(routes.router)
    problems.add_exception_handlers(app)
    return app
