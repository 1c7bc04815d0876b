"""Images of common shapes go to one lane, all others to the other."""

from __future__ import annotations

import io
import uuid

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from maskq.producer.client.sources import shape_of
from maskq.producer.schema import JobSpec
from maskq.producer.state.keys import LANES_APART
from maskq.producer.state.ledger import Ledger
from maskq.producer.state.routing import FIXED, VARIED
from tests.conftest import png
from tests.image_files import chunk, npy_text, saved, segment
from tests.image_files import png as png_file


def image(height: int, width: int) -> bytes:
    return png(np.zeros((height, width), np.uint8))


def lane_of(redis: Redis, data: bytes) -> str:
    """The lane to which the ledger assigns a job with this image."""
    redis.set(LANES_APART, "gpu")
    ledger = Ledger(redis, retention_s=100, max_queued=1000, lease_s=10, max_attempts=3)
    job_id = uuid.uuid4().hex
    ledger.create(job_id, JobSpec(), shape_of(data))
    return ledger.status(job_id).lane


def test_a_shape_is_common_from_its_thirty_second_image_on(redis: Redis) -> None:
    lanes = [lane_of(redis, image(8, 9)) for _ in range(33)]
    assert lanes == [VARIED] * 31 + [FIXED] * 2


def test_while_every_device_serves_both_lanes_there_is_one_line(redis: Redis) -> None:
    ledger = Ledger(redis)
    for n in range(40):
        ledger.create(f"job{n}", JobSpec(), shape_of(image(8, 9)))
    assert {ledger.status(f"job{n}").lane for n in range(40)} == {VARIED}
    assert not redis.exists("maskq:shapes")


def test_a_shape_that_is_common_no_more_goes_with_the_others(redis: Redis) -> None:
    for n in range(32 + 33):
        lane_of(redis, image(8, 9) if n < 32 else image(1 + n, 9))
    assert lane_of(redis, image(8, 9)) == VARIED


def test_one_odd_image_does_not_make_a_common_shape_uncommon(redis: Redis) -> None:
    for _ in range(40):
        lane_of(redis, image(8, 9))
    assert lane_of(redis, image(9, 8)) == VARIED
    assert lane_of(redis, image(8, 9)) == FIXED


def test_arrays_and_files_of_one_shape_are_one_shape(redis: Redis) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros((8, 9, 3), np.uint16))
    tiff = io.BytesIO()
    Image.new("L", (9, 8)).save(tiff, "TIFF")
    for n in range(32):
        lane_of(redis, (array.getvalue(), tiff.getvalue(), image(8, 9))[n % 3])
    assert {lane_of(redis, each) for each in (array.getvalue(), tiff.getvalue(), image(8, 9))} == {FIXED}


@pytest.mark.parametrize("data", [b"", b"no image", b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n", b"II*\0"])
def test_what_is_no_image_is_left_to_the_worker_to_refuse(redis: Redis, data: bytes) -> None:
    assert lane_of(redis, data) == VARIED
    assert not redis.exists("maskq:shapes")


def test_what_is_remembered_is_bounded(redis: Redis) -> None:
    for n in range(70):
        lane_of(redis, image(1 + n, 1))
    assert redis.llen("maskq:shapes") == 64


COMMENT = segment(0xFE, b"a" * 40_000)


@pytest.mark.parametrize(
    "data",
    [
        saved(np.zeros((8, 9), np.uint8), "JPEG").replace(b"\xff\xd8", b"\xff\xd8" + 2 * COMMENT, 1),
        png_file(9, 8, bytes(8 * 28), 8, before=chunk(b"tEXt", b"Comment\0" + b"a" * 80_000)),
        npy_text("{'descr': '|u1', 'fortran_order': False, 'shape': (8, 9)}".ljust(2_000), bytes(72)),
    ],
    ids=["jpeg", "png", "npy"],
)
def test_a_long_header_is_left_to_the_worker(data: bytes) -> None:
    """Pillow 13.0.0 took half a minute for a header of 16 MB, before any check had run. These have 2 to 80 kB."""
    assert shape_of(data) is None
