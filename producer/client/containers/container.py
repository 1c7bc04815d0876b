"""The interface of a container: a file, folder or URL that the client reads itself and sends in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from .request import Request
from .series import Series


@dataclass(frozen=True)
class Container:
    """A kind of container and how it is read."""

    #: What messages call it.
    name: str
    #: Lower-case endings of the names of its files or folders.
    suffixes: tuple[str, ...]
    #: (path or URL, request) → its images while the context is open. Imports its reader, and may raise anything.
    open: Callable[[str, Request], AbstractContextManager[Sequence[Series]]]
    #: Options that its reader applies itself, and that are cleared in the job besides scene, level and region.
    own_options: frozenset[str] = frozenset()
