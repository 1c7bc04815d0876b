"""Receives images from request bodies in chunks, within limits that hold whatever the headers say.

A large image goes to the store while it arrives, piece by piece: a body is never in memory as a whole.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from anyio import CancelScope
from fastapi import Request

from ...client.upload import StoredImage, Upload
from ...errors import InvalidJob, MaskqError, PayloadTooLarge
from ..errors import UnsupportedMedia, UploadTooSlow
from .multipart import MULTIPART, OVERHEAD_BYTES, Form
from .shares import SHARE, Shares, sender_of
from .throughput import IDLE_TIMEOUT_S, MIN_BYTES_PER_S, MinThroughput

#: Media types of a raw body other than `image/…`.
_RAW = ("", "application/octet-stream", "application/x-npy")
#: The limit on the bytes of bodies that arrive or are processed, in bodies of the maximum size.
MAX_IMAGES = 4
#: The limit on the number of these bodies.
MAX_UPLOADS = 256


@dataclass
class Received:
    """A complete request body."""

    upload: Upload
    #: The image's file name, if the body has one.
    filename: str | None = None
    #: The other fields of a multipart body.
    fields: dict[str, str] = field(default_factory=dict)
    #: Whether the image is the business of who took it.
    taken: bool = False

    def take(self) -> bytes | StoredImage:
        """The image, to be enqueued at once; blocks. What nobody takes is deleted."""
        image = self.upload.finish()
        self.taken = True
        return image


class Uploads:
    """Receives request bodies and limits their number and total size. Not thread-safe: one event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = IDLE_TIMEOUT_S) -> None:
        """`max_bytes` is the maximum size of an image. A body is rejected if nothing arrives for `idle_s` seconds or,
        after these, if it is slower than `MIN_BYTES_PER_S`.
        """
        self._max_bytes, self._idle_s = max_bytes, idle_s
        total = MAX_IMAGES * (max_bytes + OVERHEAD_BYTES)
        #: The bodies that are being received or processed, and their bytes.
        self.count = Shares(MAX_UPLOADS, int(SHARE * MAX_UPLOADS), "uploads at once")
        self.bytes = Shares(total, int(SHARE * total), "bytes of uploads at once")

    @asynccontextmanager
    async def receive(
        self, request: Request, start: Callable[[int], Upload], in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> AsyncIterator[Received]:
        """The request's body, which counts until the block ends.

        `start` makes the upload of an image of the announced size. Raises `PayloadTooLarge` and `GatewayBusy` as soon
        as the size is known, `UnsupportedMedia`, `UploadTooSlow`, `InvalidJob` for a body that is malformed or empty,
        and what the upload raises.
        """
        kind, limit = _media_type(request), self._max_bytes
        if kind == MULTIPART:
            limit += OVERHEAD_BYTES
        announced = int(request.headers.get("content-length", 0))
        self._check_size(announced, limit)
        async with self._chunks(request, limit, announced) as chunks:
            upload = start(announced)
            received = Received(upload)
            try:
                form = Form(request) if kind == MULTIPART else None
                async for chunk in chunks:
                    data = form.feed(chunk) if form else chunk
                    self._check_size(upload.size + len(data), self._max_bytes)
                    if data and upload.add(data):
                        await in_thread(upload.flush)
                if form:
                    form.close()
                    received.filename, received.fields = form.filename, form.fields
                if not upload.size:
                    raise InvalidJob(f"no image: the {'file' if form else 'body'} is empty")
                yield received
            finally:
                if not received.taken:
                    with CancelScope(shield=True), suppress(MaskqError):  # if the store is away, it expires
                        await in_thread(upload.discard)

    @asynccontextmanager
    async def _chunks(self, request: Request, limit: int, announced: int) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The body's chunks. What was announced counts until the block ends, and what comes beyond it."""
        sender, counted, throughput = sender_of(request), 0, MinThroughput(self._idle_s)

        def count_up_to(size: int) -> None:
            nonlocal counted
            if size > counted:
                self.bytes.take(sender, size - counted)
                counted = size

        async def chunks() -> AsyncGenerator[bytes, None]:
            body, received = request.stream(), 0
            while chunk := await _next_chunk(body, throughput, received):
                received += len(chunk)
                self._check_size(received, limit)
                count_up_to(received)
                yield chunk

        self.count.take(sender, 1)
        try:
            count_up_to(announced)
            yield chunks()
        finally:
            self.count.give(sender, 1)
            self.bytes.give(sender, counted)

    def _check_size(self, size: int, limit: int) -> None:
        if size > limit:
            raise PayloadTooLarge(f"the image is over the limit of {self._max_bytes:,} bytes")


async def _next_chunk(body: AsyncIterator[bytes], throughput: MinThroughput, received: int) -> bytes:
    """The chunk after `received` bytes; empty at the end."""
    try:
        async with throughput.timeout(received):
            return await anext(body, b"")
    except TimeoutError:
        raise UploadTooSlow(
            f"the body has stalled or arrives at less than {MIN_BYTES_PER_S // 1000} kB/s: {received:,} bytes received"
        ) from None


def _media_type(request: Request) -> str:
    """The body's media type without parameters, in lower case. Raises `UnsupportedMedia` for one that is no image's,
    and for a compressed body.
    """
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedMedia(f"Content-Encoding {coding[:100]} is not supported: send the body uncompressed")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART and kind not in _RAW and not kind.startswith("image/"):
        raise UnsupportedMedia(
            f"an image can't be sent as {kind[:100]}: send multipart/form-data with a field `file`, or the image "
            f"itself as image/png, image/tiff, … or application/octet-stream"
        )
    return kind
