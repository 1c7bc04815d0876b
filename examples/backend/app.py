"""A web backend that accepts uploads, queues them and serves their masks.

pip install '.[gateway]'                    # in a checkout: fastapi, uvicorn, python-multipart
maskq up                                    # in another terminal; its gateway uses port 8000
uvicorn --port 8080 examples.backend.app:app
curl -F file=@cells.png localhost:8080/images
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from maskq import Client, MaskqError, QueueFull


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for the whole app: threads may share it."""
    with Client() as client:
        app.state.client = client
        yield


app = FastAPI(title="images in, masks out", lifespan=lifespan)


@app.exception_handler(MaskqError)
def respond(_: Request, error: MaskqError) -> JSONResponse:
    """Respond with the error's HTTP status and message, and with Retry-After if the queue is full."""
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, QueueFull) else None
    return JSONResponse({"error": type(error).__name__, "detail": str(error)}, error.status, headers)


@app.post("/images", status_code=202)
async def upload(request: Request, file: Annotated[UploadFile, File()], model: str = "nuclei") -> dict[str, str]:
    """Queue an image. Its masks will be at the URL `result`."""
    image = await file.read()
    client: Client = request.app.state.client
    job = await run_in_threadpool(client.submit, image, name=file.filename, model=model)
    return {"job_id": job.id, "state": f"/images/{job.id}", "result": f"/images/{job.id}/result"}


@app.get("/images/{job_id}")
def state(request: Request, job_id: str) -> dict[str, Any]:
    """The job's state, timings and error."""
    status = request.app.state.client.job(job_id).status()
    return {"state": status.state, "timings": status.timings, "error": status.error}


@app.get("/images/{job_id}/result")
def result(request: Request, job_id: str) -> dict[str, Any]:
    """All objects: box, area, centroid, score, COCO mask. 409 until the job is done."""
    masks = request.app.state.client.job(job_id).result()
    return {"size": masks.size, "model": masks.model, "objects": [found.model_dump() for found in masks.objects]}


@app.get("/images/{job_id}/labels.png")
def labels(request: Request, job_id: str) -> Response:
    """The label image: 0 is background, every other value an object's id."""
    file = request.app.state.client.job(job_id).labels_file()
    return Response(file, media_type="image/png" if file.startswith(b"\x89PNG") else "image/tiff")
