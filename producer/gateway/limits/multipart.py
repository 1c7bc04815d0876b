"""Multipart request bodies: one file in the field `file`, passed on as it arrives, and text fields of limited size."""

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from ...errors import InvalidJob
from ..errors import UnsupportedMedia

MULTIPART = "multipart/form-data"
#: Maximum size of everything in a body except the file: the other fields and the boundaries, bytes.
OVERHEAD_BYTES = 1 << 20
_MAX_FIELDS = 16
#: Maximum size of a field, bytes.
_MAX_FIELD_BYTES = 16 << 10
_FILE = "file"
_RULE = "a multipart body has one file, in the field `file`, and every other field once"


class Form:
    """A body as it arrives: `feed` it, and call `close` at its end."""

    def __init__(self, request: Request) -> None:
        """Raises `InvalidJob` without a boundary, and `UnsupportedMedia` for a charset other than UTF-8."""
        #: The file's name; None if it has none, or has not begun.
        self.filename: str | None = None
        #: The complete fields.
        self.fields: dict[str, str] = {}
        self._has_file = self._in_file = self._is_json = self._ended = False
        self._name = ""
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._field = bytearray()
        self._file_data: list[bytes] = []
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(_boundary(request), callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise InvalidJob(f"the multipart body has no valid boundary: {error}") from error

    def feed(self, chunk: bytes) -> bytes:
        """Parse the next part of the body; returns what it has of the file. Raises `InvalidJob`."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidJob(f"the multipart body is malformed: {error}") from error
        data = b"".join(self._file_data)
        self._file_data.clear()
        return data

    def close(self) -> None:
        """Raises `InvalidJob` if the body was cut off, or had no file."""
        if not self._ended:
            raise InvalidJob("the multipart body is malformed: it ends early")
        if not self._has_file:
            raise InvalidJob(_RULE)

    def _begin_part(self) -> None:
        self._disposition, self._is_json = b"", False
        self._field.clear()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if (name := self._header.lower()) == b"content-disposition":
            self._disposition = bytes(self._value)
        elif name == b"content-type":
            self._is_json = self._value.lower().startswith(b"application/json")
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = b"filename" in options and not self._is_json  # browsers name JSON `blob`
        if self._in_file != (self._name == _FILE) or self._name in self.fields or (self._in_file and self._has_file):
            raise InvalidJob(_RULE)
        if self._in_file:
            self._has_file, self.filename = True, options[b"filename"].decode("utf-8", "replace")
        elif not self._name or len(self.fields) == _MAX_FIELDS:
            raise InvalidJob(f"a multipart body has {_MAX_FIELDS} fields at most, each with a name")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file_data.append(data[start:end])
        elif len(self._field) + end - start > _MAX_FIELD_BYTES:
            raise InvalidJob(f"{self._name[:100]}: over the limit of {_MAX_FIELD_BYTES:,} bytes for a field")
        else:
            self._field += data[start:end]

    def _end_part(self) -> None:
        if not self._in_file:
            try:
                self.fields[self._name] = self._field.decode()
            except UnicodeDecodeError as error:
                raise InvalidJob(f"{self._name[:100]}: it is not UTF-8") from error

    def _end(self) -> None:
        self._ended = True


def _boundary(request: Request) -> bytes:
    """The boundary of the parts. Raises `UnsupportedMedia` for a charset other than UTF-8."""
    options = parse_options_header(request.headers["content-type"])[1]
    charset = options.get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        raise UnsupportedMedia(f"charset {charset[:100].decode('latin-1')} is not supported: send the fields in UTF-8")
    if not (boundary := options.get(b"boundary", b"")):
        raise InvalidJob("the Content-Type of a multipart body names its boundary")
    return boundary
