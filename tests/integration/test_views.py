"""Jobs that are tiled, turned or resized by real workers: label for label what one process gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.samples import samples
from maskq import Client, JobFailed, Options, Settings
from maskq.producer.schema import Stage
from maskq.segmentation.images import decode
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.registry import find
from maskq.segmentation.network.architectures.branched_erfnet import HALO
from maskq.segmentation.network.tiling import Bounds, layout
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.local.stack import running

NUCLEI = decode(next(path for path in samples() if path.name == "img2d.tif").read_bytes())
STRIP = np.tile(NUCLEI[:, 100:228], (4, 1, 1))[:1700]
PIECE = NUCLEI[:160, :128]
BOUNDS = Bounds(tile_pixels=200_000, max_pixels=310_000)
WAIT_S = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sized` knows how wide its objects are, `unsized` does not."""
    folder, shipped = tmp_path_factory.mktemp("models"), find("nuclei")
    spec, weights = model.read_spec(shipped), model.read_weights(shipped)
    for name, diameter in (("sized", 20.0), ("unsized", 0.0)):
        model.write_model(folder / name, spec.model_copy(update={"name": name, "diameter": diameter}), weights)
    return folder


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[Client]:
    settings = Settings(
        devices="cpu",
        cluster_processes=1,
        torch_threads=1,
        models=str(models),
        tile_pixels=BOUNDS.tile_pixels,
        max_pixels=BOUNDS.max_pixels,
    )
    with running(settings) as stack, Client(settings=stack.settings) as made:
        yield made


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (PIECE, {"tta": True}),
        (PIECE, {"diameter": 30}),
        (PIECE, {"diameter": 12, "tta": True}),
        (STRIP, {}),
        (STRIP, {"diameter": 17}),
    ],
    ids=["turned", "shrunk", "enlarged and turned", "tiled", "tiled and enlarged"],
)
def test_the_queue_gives_label_for_label_what_one_process_gives(
    client: Client, models: Path, pixels: np.ndarray[Any, Any], options: dict[str, Any]
) -> None:
    result = client.submit(pixels, model="sized", options=Options(**options)).wait(WAIT_S)
    labels, scores = Segmenter.load(models / "sized").segment(pixels, bounds=BOUNDS, **options)
    assert len(scores) > 5
    np.testing.assert_array_equal(result.labels, labels)
    if pixels is STRIP:
        assert len(layout(STRIP.shape[:2], HALO, BOUNDS.tile_pixels)[0]) > 1


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"model": "unsized", "options": Options(diameter=20)}, "InvalidDiameter", "unsized does not know how wide"),
        ({"model": "sized", "options": Options(diameter=1)}, "InvalidDiameter", "from 1.25 to 320"),
        ({"model": "sized", "options": Options(diameter=5)}, "ImageTooLarge", "160×128, resized by 4 .* is 327,680"),
    ],
)
def test_a_diameter_that_cannot_be_is_told_by_name(
    client: Client, asked: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(JobFailed, match=message) as failed:
        client.submit(PIECE, **asked).wait(WAIT_S)
    assert (failed.value.error.type, failed.value.error.stage) == (kind, Stage.EMBED)
