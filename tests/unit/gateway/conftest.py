from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.gateway.fakes import Http, open_http


@pytest.fixture
def http() -> Iterator[Http]:
    with open_http() as http:
        yield http
