"""Receives images from request bodies in chunks, within limits that hold whatever the headers say."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request

from ...errors import InvalidJob, PayloadTooLarge
from ..errors import GatewayBusy, UnsupportedMedia, UploadTooSlow
from .multipart import MULTIPART, OVERHEAD_BYTES, parse_multipart
from .throughput import IDLE_TIMEOUT_S, MIN_BYTES_PER_S, MinThroughput

#: Media types of a raw body other than `image/…`.
_RAW = ("", "application/octet-stream", "application/x-npy")
#: The limit on buffered bodies, in bodies of the maximum size.
_MAX_IMAGES = 4


@dataclass(frozen=True)
class Upload:
    """A complete request body."""

    #: Returns the image's bytes. May read a file: call it from a thread.
    image: Callable[[], bytes]
    #: The image's file name, if the body has one.
    filename: str | None = None
    #: The other fields of a multipart body.
    fields: dict[str, str] = field(default_factory=dict)


class Uploads:
    """Receives request bodies and limits their total size. Not thread-safe: one event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = IDLE_TIMEOUT_S) -> None:
        """`max_bytes` is the maximum size of an image. A body is rejected if nothing arrives for `idle_s` seconds or,
        after these, if it is slower than `MIN_BYTES_PER_S`.
        """
        self._max_bytes, self._idle_s = max_bytes, idle_s
        #: Bytes of the bodies that are being received or processed.
        self.buffered_bytes = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Upload]:
        """The request's image, available while the block runs; a multipart file over 1 MiB is spooled to disk.

        Raises `PayloadTooLarge` as soon as the size is known, `UnsupportedMedia`, `UploadTooSlow`, `GatewayBusy`, and
        `InvalidJob` for a body that is malformed or empty.
        """
        kind, limit = _media_type(request), self._max_bytes
        if kind == MULTIPART:
            limit += OVERHEAD_BYTES
        elif kind not in _RAW and not kind.startswith("image/"):
            raise UnsupportedMedia(
                f"an image can't be sent as {kind[:100]}: send multipart/form-data with a field `file`, or the image "
                f"itself as image/png, image/tiff, … or application/octet-stream"
            )
        self._check_size(int(request.headers.get("content-length", 0)), limit)
        async with self._chunks(request, limit) as chunks:
            if kind == MULTIPART:
                async with parse_multipart(request, chunks) as (file, fields):
                    self._check_size(file.size or 0, self._max_bytes)
                    yield Upload(file.file.read, file.filename, fields)
            else:
                image = b"".join([chunk async for chunk in chunks])
                if not image:
                    raise InvalidJob("no image: the body is empty")
                yield Upload(lambda: image)

    @asynccontextmanager
    async def _chunks(self, request: Request, limit: int) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The body's chunks; they count as buffered until the block ends."""
        received, throughput = 0, MinThroughput(self._idle_s)

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal received
            body = request.stream()
            while chunk := await _next_chunk(body, throughput, received):
                received += len(chunk)
                self.buffered_bytes += len(chunk)
                self._check_size(received, limit)
                if self.buffered_bytes > _MAX_IMAGES * (self._max_bytes + OVERHEAD_BYTES):
                    raise GatewayBusy("too many uploads at once; try again later")
                yield chunk

        try:
            yield chunks()
        finally:
            self.buffered_bytes -= received

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
    """The body's media type without parameters, in lower case. Raises `UnsupportedMedia` for a compressed body."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedMedia(f"Content-Encoding {coding[:100]} is not supported: send the body uncompressed")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
