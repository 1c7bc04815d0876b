"""A request's body → an image's bytes, in chunks, within bounds that hold whatever the headers say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ...errors import InvalidJob, PayloadTooLarge
from ..errors import GatewayBusy, UnsupportedMedia, UploadTooSlow
from .throughput import IDLE_S, LEAST_RATE, MinThroughput

#: What a raw body may be called, beside `image/…`.
_RAW = ("", "application/octet-stream", "application/x-npy")
#: Bytes that a multipart body may have beside the image: its other fields, and what stands between them.
_BESIDE = 1 << 20
_MOST_FIELDS = 16
#: Bytes of such a field at most.
_MOST_FIELD = 16 << 10
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

    def __init__(self, max_bytes: int, idle_s: float = IDLE_S) -> None:
        """`max_bytes` are an image's at most; a body is given up of which nothing comes for `idle_s` seconds, or which
        has not come at `LEAST_RATE` by then.
        """
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
        count, pace = 0, MinThroughput(self._idle_s)

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal count
            body = request.stream()
            while chunk := await _next(body, pace, count):
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

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the image is over the limit of {self._max_bytes:,} bytes")


async def _next(body: AsyncIterator[bytes], pace: MinThroughput, count: int) -> bytes:
    """The chunk after `count` bytes; an empty one is the end."""
    try:
        async with pace.after(count):
            return await anext(body, b"")
    except TimeoutError:
        raise UploadTooSlow(
            f"the body stands still, or comes at less than {LEAST_RATE // 1000} kB/s: {count:,} bytes of it have come"
        ) from None


def media_type(request: Request) -> str:
    """The body's type without parameters, in lower case. Raises `UnsupportedMedia` where the body is compressed."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedMedia(f"a body in Content-Encoding {coding[:100]} is not taken: send it as it is")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _parsed(request: Request, chunks: AsyncGenerator[bytes, None]) -> FormData:
    whole = _to_its_end(chunks, _boundary(request))
    parser = MultiPartParser(request.headers, whole, max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidJob(f"the multipart body is malformed: {error.message}") from error
    except FormParserError as error:
        raise InvalidJob("the multipart body is malformed") from error


def _boundary(request: Request) -> bytes:
    """What stands between the parts. Raises `UnsupportedMedia` where the fields are said to be in another charset than
    UTF-8: the parser would use any codec that Python has, and decoding takes some of them minutes.
    """
    options = parse_options_header(request.headers["content-type"])[1]
    charset = options.get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        raise UnsupportedMedia(f"a form in {charset[:100].decode('latin-1')} is not taken: send its fields in UTF-8")
    return options.get(b"boundary", b"")


async def _to_its_end(chunks: AsyncGenerator[bytes, None], boundary: bytes) -> AsyncGenerator[bytes, None]:
    """The chunks, which have to end as multipart does: of one that is cut off the parser would forget the open file."""
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
