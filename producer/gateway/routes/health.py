"""For load balancers and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

import anyio
from fastapi import APIRouter, Response

from ...errors import BrokerUnavailable
from ...state.exposition import exposition
from ..dependencies import TheGateway

router = APIRouter(tags=["operation"])

#: A broker that has not answered by then is away, seconds.
_READY_S = 5.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(gateway: TheGateway) -> dict[str, str]:
    """The broker answers; 503 where it does not."""
    with anyio.move_on_after(_READY_S) as asked:
        await anyio.to_thread.run_sync(gateway.client.check, abandon_on_cancel=True, limiter=gateway.checks)
    if asked.cancelled_caught:
        raise BrokerUnavailable(f"the broker has not answered within {_READY_S:g} s")
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(gateway: TheGateway) -> Response:
    """Queues, jobs, Redis, and what each device says of itself, in Prometheus' text format."""
    said = exposition(await gateway.ask(gateway.client.stats))
    return Response(said, media_type="text/plain; version=0.0.4; charset=utf-8")
