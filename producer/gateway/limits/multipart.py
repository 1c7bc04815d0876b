"""Multipart request bodies: one file in the field `file`, and text fields, all of limited size."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ...errors import InvalidJob
from ..errors import UnsupportedMedia

MULTIPART = "multipart/form-data"
#: Maximum size of everything in a body except the file: the other fields and the boundaries, bytes.
OVERHEAD_BYTES = 1 << 20
_MAX_FIELDS = 16
#: Maximum size of a field, bytes.
_MAX_FIELD_BYTES = 16 << 10
#: How many bytes may follow the last boundary.
_EPILOGUE_BYTES = 1024


@asynccontextmanager
async def parse_multipart(
    request: Request, chunks: AsyncGenerator[bytes, None]
) -> AsyncIterator[tuple[UploadFile, dict[str, str]]]:
    """The file and the other fields of a body; the file is closed when the block ends.

    Raises `UnsupportedMedia` for a charset other than UTF-8, and `InvalidJob` for a body that is malformed or has not
    exactly one file.
    """
    body = _until_last_boundary(chunks, _boundary(request))
    parser = MultiPartParser(request.headers, body, max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidJob(f"the multipart body is malformed: {error.message}") from error
    except FormParserError as error:
        raise InvalidJob("the multipart body is malformed") from error
    try:
        yield _file_and_fields(form)
    finally:
        await form.close()


def _boundary(request: Request) -> bytes:
    """The boundary of the parts. Raises `UnsupportedMedia` for a charset other than UTF-8: the parser would use any
    codec of Python, and some of them take minutes to decode.
    """
    options = parse_options_header(request.headers["content-type"])[1]
    charset = options.get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        raise UnsupportedMedia(f"charset {charset[:100].decode('latin-1')} is not supported: send the fields in UTF-8")
    return options.get(b"boundary", b"")


async def _until_last_boundary(chunks: AsyncGenerator[bytes, None], boundary: bytes) -> AsyncGenerator[bytes, None]:
    """Pass the chunks on. Raises `MultiPartException` for a truncated body: the parser would leak its open file."""
    end, tail = b"--" + boundary + b"--", b""
    async for chunk in chunks:
        tail = (tail + chunk)[-len(end) - _EPILOGUE_BYTES :]
        yield chunk
    if end not in tail:
        raise MultiPartException("It ends early.")


def _file_and_fields(form: FormData) -> tuple[UploadFile, dict[str, str]]:
    items = dict(form.multi_items())
    file = items.pop("file", None)
    if len(items) + 1 < len(form.multi_items()) or not isinstance(file, UploadFile):
        raise InvalidJob("a multipart body has one file, in the field `file`, and every other field once")
    if not file.size:
        raise InvalidJob("no image: the file is empty")
    return file, {name: value for name, value in items.items() if isinstance(value, str)}
