"""`maskq run` of more images than its Redis can hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tifffile

from tests.acceptance.processes import maskq

#: More than the images in flight, and three times what Redis may store.
IMAGES, FILE_BYTES, MEMORY = 96, 2 << 20, 64 << 20


def test_a_run_has_room_however_many_images_it_is_given(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(IMAGES):
        file = images / f"{number:03d}.tif"
        tifffile.imwrite(file, np.full((32, 32), number, np.uint8))
        with file.open("ab") as end:  # readers pass over what follows the picture
            end.write(os.urandom(FILE_BYTES))
    out = tmp_path / "out"
    done = maskq("run", images, "--out", out, "--devices", "cpu", env={"MASKQ_REDIS_MEMORY": str(MEMORY)})
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["failures"]) == (IMAGES, [])
