"""A zip in pieces is a valid zip, and its memory doesn't grow with its contents."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from maskq.producer.formats.archive import zip_chunks

CONTENTS = st.one_of(st.binary(max_size=300), st.lists(st.binary(max_size=100), max_size=4))


@given(st.lists(CONTENTS, max_size=5), st.booleans())
def test_entries_are_given_again(contents: list[bytes | list[bytes]], compress: bool) -> None:
    data = b"".join(zip_chunks(((f"folder/{n}", piece) for n, piece in enumerate(contents)), compress=compress))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        again = [archive.read(name) for name in archive.namelist()]
    assert again == [piece if isinstance(piece, bytes) else b"".join(piece) for piece in contents]


def test_ten_thousand_entries_take_constant_memory() -> None:
    peaks = []
    for images in (100, 10_000):
        tracemalloc.start()
        size = sum(map(len, zip_chunks(((f"{n}.bin", contents()) for n in range(images)), compress=False)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert size > images * 20_000
    assert peaks[1] - peaks[0] < 10_000 * 1_000  # the directory: 200 MB of contents would show


def contents() -> Iterator[bytes]:
    for _ in range(2):
        yield bytes(10_000)
