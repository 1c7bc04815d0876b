"""Routes for load balancers and Prometheus: /healthz, /readyz, /metrics."""

import anyio
from fastapi import APIRouter, Response

from ...errors import BrokerUnavailable
from ...state.exposition import exposition
from ..dependencies import GatewayDep
from ..problems import openapi_responses
from ..responses import Health, success

router = APIRouter(tags=["operation"])

#: Timeout of the readiness check, seconds.
_READY_S = 5.0


@router.get("/healthz", response_model=None, responses=success(Health))
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None, responses=success(Health) | openapi_responses())
async def readyz(gateway: GatewayDep) -> dict[str, str]:
    """The broker answers; otherwise 503."""
    with anyio.move_on_after(_READY_S) as timeout:
        await anyio.to_thread.run_sync(gateway.client.check, abandon_on_cancel=True, limiter=gateway.check_threads)
    if timeout.cancelled_caught:
        raise BrokerUnavailable(f"the broker has not answered within {_READY_S:g} s")
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(gateway: GatewayDep) -> Response:
    """Queues, jobs, Redis, and the statistics of each device, in Prometheus' text format."""
    text = exposition(await gateway.in_thread(gateway.client.stats))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
