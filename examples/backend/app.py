"""A web backend that accepts an upload, queues it, and serves its masks.

pip install '.[gateway]'                    # in a checkout: fastapi, uvicorn, python-multipart
maskq up                                    # in another terminal; maskq's own gateway has port 8000
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
    """One client for the whole app: it is safe to share among threads."""
    with Client() as client:
        app.state.client = client
        yield


app = FastAPI(title="images in, masks out", lifespan=lifespan)


@app.exception_handler(MaskqError)
def refuse(_: Request, error: MaskqError) -> JSONResponse:
    """Every error of maskq knows its HTTP status and says what to do; a full queue, when to come again."""
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, QueueFull) else None
    return JSONResponse({"error": type(error).__name__, "detail": str(error)}, error.status, headers)


@app.post("/images", status_code=202)
async def upload(request: Request, file: Annotated[UploadFile, File()], model: str = "nuclei") -> dict[str, str]:
    """Queue an image; its masks will be at `result`."""
    image = await file.read()
    client: Client = request.app.state.client
    job = await run_in_threadpool(client.submit, image, name=file.filename, model=model)
    return {"job_id": job.id, "state": f"/images/{job.id}", "result": f"/images/{job.id}/result"}


@app.get("/images/{job_id}")
def state(request: Request, job_id: str) -> dict[str, Any]:
    """Where the job is."""
    status = request.app.state.client.job(job_id).status()
    return {"state": status.state, "timings": status.timings, "error": status.error}


@app.get("/images/{job_id}/result")
def result(request: Request, job_id: str) -> dict[str, Any]:
    """Every object: box, area, centroid, score, COCO mask. 409 until the job is done."""
    found = request.app.state.client.job(job_id).result()
    return {"size": found.size, "model": found.model, "objects": [o.model_dump() for o in found.objects]}


@app.get("/images/{job_id}/labels.png")
def labels(request: Request, job_id: str) -> Response:
    """The label image: 0 is background, else an object's id."""
    found = request.app.state.client.job(job_id).result()
    return Response(found.label_file, media_type="image/png" if found.label_file[:4] == b"\x89PNG" else "image/tiff")
