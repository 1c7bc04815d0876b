"""Functions are compiled whether or not there is a folder for numba's cache."""

from __future__ import annotations

import pytest
from numba.core.caching import CacheImpl, FunctionCache

from maskq.segmentation.compiled import compiled


def test_the_machine_code_is_cached() -> None:
    @compiled()
    def double(x: int) -> int:
        return 2 * x

    assert double(3) == 6 and isinstance(double._cache, FunctionCache)


def test_without_a_folder_for_the_cache_functions_are_compiled_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # as if no folder could be written

    @compiled(inline="always")
    def triple(x: int) -> int:
        return 3 * x

    assert triple(3) == 9 and not isinstance(triple._cache, FunctionCache)
