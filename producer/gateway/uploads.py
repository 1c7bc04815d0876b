"""A request's body → an image's bytes, in chunks, within bounds that hold whatever the headers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import InvalidJob, PayloadTooLarge
from .errors import GatewayBusy, UnsupportedMedia, UploadTooSlow

#: What a raw body may be called, beside `image/…`.
_RAW = ("", "application/octet-stream", "application/x-npy")
#: Bytes that a multipart body may have beside the image: its other fields, and what stands between them.
_BESIDE = 1 << 20
_MOST_FIELDS = 16
#: Bytes that may follow a multipart body's end.
_EPILOGUE = 1024
#: All the bodies that are being received or handed on have room for so many of the largest image.
_LARGEST_AT_ONCE = 4


@dataclass(frozen=True)
class Upload:
    """A body that has come whole."""

    #: Gives the image's bytes; it may read a file, so call it from a thread.
    image: Callable[[], bytes]
    #: The image's name, where the body has one.
    name: str | None = None
    #: The other fields of a multipart body.
    fields: dict[str, str] = field(default_factory=dict)


class Uploads:
    """Receives bodies, of all requests together no more bytes than there is room for. One event loop uses it."""

    def __init__(self, max_bytes: int, idle_s: float = 30.0) -> None:
        """`max_bytes` are an image's at most; a body of which nothing comes for `idle_s` seconds is given up."""
        self._max_bytes, self._idle_s = max_bytes, idle_s
        #: Bytes that are held now.
        self.held = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Upload]:
        """The request's image, for the length of the block.

        A multipart body's file waits on disk beyond a megabyte. Raises `PayloadTooLarge` as soon as that is certain,
        `UnsupportedMedia`, `UploadTooSlow`, `GatewayBusy`, and `InvalidJob` for a body that is malformed or empty.
        """
        kind, most = media_type(request), self._max_bytes
        if kind == "multipart/form-data":
            most += _BESIDE
        elif kind not in _RAW and not kind.startswith("image/"):
            raise UnsupportedMedia(
                f"an image can't be sent as {kind[:100]}: send multipart/form-data with a field `file`, or the image "
                f"itself as image/png, image/tiff, … or application/octet-stream"
            )
        if int(request.headers.get("content-length", 0)) > most:
            raise self._too_large()
        async with self._counted(request, most) as chunks:
            if kind == "multipart/form-data":
                form = await _parsed(request, chunks)
                try:
                    yield _of_form(form)
                finally:
                    await form.close()
            else:
                image = b"".join([chunk async for chunk in chunks])
                if not image:
                    raise InvalidJob("no image: the body is empty")
                yield Upload(lambda: image)

    @asynccontextmanager
    async def _counted(self, request: Request, most: int) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The body's chunks; they count as held until the block ends."""
        count = 0

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal count
            body = request.stream()
            while chunk := await self._next(body):
                count += len(chunk)
                self.held += len(chunk)
                if count > most:
                    raise self._too_large()
                if self.held > _LARGEST_AT_ONCE * (self._max_bytes + _BESIDE):
                    raise GatewayBusy("too much is being uploaded at once; try again later")
                yield chunk

        try:
            yield chunks()
        finally:
            self.held -= count

    async def _next(self, body: AsyncIterator[bytes]) -> bytes:
        """The next chunk; an empty one is the end."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(body, b"")
        except TimeoutError:
            raise UploadTooSlow(f"nothing of the body came for {self._idle_s:g} s") from None

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the image is over the limit of {self._max_bytes:,} bytes")


def media_type(request: Request) -> str:
    """The body's type without parameters, in lower case. Raises `UnsupportedMedia` where the body is compressed."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedMedia(f"a body in Content-Encoding {coding[:100]} is not taken: send it as it is")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _parsed(request: Request, chunks: AsyncGenerator[bytes, None]) -> FormData:
    whole = _to_its_end(chunks, request.headers["content-type"])
    parser = MultiPartParser(request.headers, whole, max_files=1, max_fields=_MOST_FIELDS)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidJob(f"the multipart body is malformed: {error.message}") from error
    except FormParserError as error:
        raise InvalidJob("the multipart body is malformed") from error


async def _to_its_end(chunks: AsyncGenerator[bytes, None], content_type: str) -> AsyncGenerator[bytes, None]:
    """The chunks, which have to end as multipart does: of one that is cut off the parser would forget the open file."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    end, last = b"--" + boundary + b"--", b""
    async for chunk in chunks:
        last = (last + chunk)[-len(end) - _EPILOGUE :]
        yield chunk
    if end not in last:
        raise MultiPartException("It ends early.")


def _of_form(form: FormData) -> Upload:
    """The image and the fields of a multipart body. Raises `InvalidJob`."""
    items = dict(form.multi_items())
    file = items.pop("file", None)
    if len(items) + 1 < len(form.multi_items()) or not isinstance(file, UploadFile):
        raise InvalidJob("a multipart body has one file, in the field `file`, and every other field once")
    if not file.size:
        raise InvalidJob("no image: the file is empty")
    fields = {name: value for name, value in items.items() if isinstance(value, str)}
    return Upload(file.file.read, file.filename, fields)
