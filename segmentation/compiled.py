"""Compiles functions with numba. The machine code is cached on disk if there is a folder to write to."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compile a function, and release the GIL while it runs. `options` are numba's.

    numba looks for a folder for its cache when it decorates, and fails if neither this package nor the user's cache
    folder can be written, as in a container with a read-only root. Then each process compiles at its start; the
    variable NUMBA_CACHE_DIR can name another folder.
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return compile_function
