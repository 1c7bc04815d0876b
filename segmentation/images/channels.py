"""Chooses the channels to segment. What they mean comes from the file's metadata, never from a guess."""

from collections.abc import Sequence

from .image import Image


def choose_channels(
    image: Image, wanted: int | str | Sequence[int | str] | None, name: str
) -> tuple[Image, tuple[str, ...]]:
    """The image with only the channels to segment, alpha dropped, and what they are called in the result.

    `wanted` are numbers from 1 or names. Raises `AmbiguousChannels` if it is None and the channels are neither grey nor
    RGB, and `NoSuchChannel`.
    """
    raise NotImplementedError
