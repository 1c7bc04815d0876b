"""The interface of a result format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maskq.producer.client.job import Result


@dataclass(frozen=True)
class ResultFormat:
    """A kind of file that represents the result of a job."""

    #: The name that `--format` takes.
    name: str
    #: The file name endings that `encode` can return, each with its media type.
    media_types: Mapping[str, str]
    #: (result, bytes of the image file) → (file name ending, bytes of the result file).
    encode: Callable[[Result, bytes], tuple[str, bytes]]
    #: If False, `encode` doesn't read the image, and may be called with `b""`.
    needs_image: bool = False
