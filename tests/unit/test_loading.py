"""Exported programs, and the cache of loaded models."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from maskq.producer.settings import Settings
from maskq.segmentation.errors import InvalidModel, UnknownModel
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.importing import add_version, import_file
from maskq.segmentation.models.registry import ModelRegistry
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.exported_program import Program, inspect
from maskq.segmentation.network.inference import Input, RunningBatch
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.device.device import Device
from maskq.workers.device.model_cache import ModelCache
from maskq.workers.device.spec import DeviceSpec

PROGRAM = ModelSpec(name="mine", network="program")


class Small(nn.Module):
    """A user's network with a `view`, which needs contiguous memory."""

    def __init__(self, fields: int = 5) -> None:
        super().__init__()
        self.last = nn.Conv2d(1, fields, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        return cast(Tensor, self.last(x)).view(n, -1).view(n, self.last.out_channels, height, width)


def exported(network: nn.Module, *, channels: int = 1, dynamic: bool = True) -> bytes:
    n, h, w = (torch.export.Dim(name, min=1, max=4096) for name in "nhw")
    shapes = ({0: n, 2: 8 * h, 3: 8 * w},) if dynamic else None
    program = torch.export.export(network.eval(), (torch.zeros(2, channels, 64, 64),), dynamic_shapes=shapes)
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def small() -> bytes:
    torch.manual_seed(0)
    return exported(Small())


def load(data: bytes, folder: Path, spec: ModelSpec = PROGRAM) -> Segmenter:
    model.write_model(folder, spec, data)
    return Segmenter.load(folder)


def rewritten(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with the content of one file changed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for file in old.namelist():
            content = old.read(file)
            new.writestr(file, change(content) if file.endswith(name) else content)
    return stream.getvalue()


# Programs


def test_a_program_gives_what_its_network_gave_in_any_batch_and_shape(small: bytes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, segmenter = Small().eval(), load(small, tmp_path)
    for shape in ((1, 1, 64, 64), (3, 1, 40, 160), (2, 1, 8, 8)):
        inputs = torch.randn(*shape)
        with torch.inference_mode():
            np.testing.assert_allclose(segmenter.forward(inputs.numpy()), network(inputs).numpy(), atol=1e-5)
    assert segmenter.nbytes == sum(p.nbytes for p in network.parameters())


def test_a_program_segments(small: bytes, tmp_path: Path) -> None:
    labels, _ = load(small, tmp_path).segment(np.zeros((30, 50, 3), np.uint8))
    assert labels.shape == (30, 50)


def test_a_program_says_what_it_takes_and_gives(small: bytes) -> None:
    assert inspect(small) == ("grey", 2)


def test_a_program_is_imported_as_a_checkpoint_is(small: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.pt2").write_bytes(small)
    imported = import_file(tmp_path / "mine.pt2")
    folder = add_version(tmp_path, ModelSpec(name="mine", **imported.spec_fields), imported.weights)
    assert sorted(path.name for path in folder.iterdir()) == ["model.toml", "program.pt2"]
    assert Segmenter.load(folder).spec.network == "program"


@pytest.mark.parametrize(
    ("program", "spec", "complaint"),
    [
        (lambda: exported(Small(), dynamic=False), PROGRAM, "does not take [13]×1×"),
        (lambda: exported(Small(4)), PROGRAM, "of 1×1×64×64 the program makes 1×4×64×64, not 5 fields"),
        (lambda: exported(Small()), PROGRAM.model_copy(update={"channels": "rgb"}), "does not take 1×3×64×64"),
        (lambda: b"Dear Sir or Madam", PROGRAM, "not a program"),
    ],
    ids=["one shape", "other fields", "other channels", "text"],
)
def test_a_program_that_does_not_fit_is_refused_with_its_reason(
    program: Callable[[], bytes], spec: ModelSpec, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel, match=complaint):
        load(program(), tmp_path, spec)


class Raising(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> None:
        raise self.error


def test_what_a_program_raises_is_its_own_fault_and_what_the_device_raises_is_not() -> None:
    for error in (RuntimeError("shape '[2]' is invalid"), IndexError("out of range")):
        with pytest.raises(InvalidModel, match="does not take 1×1×8×8, .*invalid|range"):
            Program(Raising(error), 1, 5)(torch.zeros(1, 1, 8, 8))
    for error in (RuntimeError("CUDA error: launch failed"), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(type(error), match="CUDA"):
            Program(Raising(error), 1, 5)(torch.zeros(1, 1, 8, 8))


def test_weights_of_a_type_that_torch_does_not_have_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"encoder": {"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}}).encode()
    with pytest.raises(InvalidModel, match="don't fit the network.*F8_E8M0"):
        load(struct.pack("<Q", len(header)) + header + b"0", tmp_path, ModelSpec(name="mine"))


def test_another_program_under_the_same_spec_is_refused(small: bytes, tmp_path: Path) -> None:
    model.write_model(tmp_path, PROGRAM, small)
    (tmp_path / "program.pt2").write_bytes(small + b" ")
    with pytest.raises(InvalidModel, match=r"program\.pt2: its sha256"):
        Segmenter.load(tmp_path)


class Executed:
    """A pickle that creates a file if it is loaded without protection."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_in_a_programs_sample_inputs_is_refused_and_not_run(small: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(Executed(tmp_path / "ran"), stream)
    with pytest.raises(InvalidModel, match="not a program that torch"):
        load(rewritten(small, "sample_inputs/model.pt", lambda _: stream.getvalue()), tmp_path / "mine")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_weight_or_constant_is_refused_and_not_run(small: bytes, tmp_path: Path) -> None:
    def pickled(config: bytes) -> bytes:
        return config.replace(b'"use_pickle": false', b'"use_pickle": true')

    poison = pickle.dumps(Executed(tmp_path / "ran"))
    opaque = b'{"config": {"x": {"path_name": "opaque_obj_0", "is_param": false, "use_pickle": false}}}'
    for data in (
        rewritten(rewritten(small, "weights_config.json", pickled), "weights/weight_0", lambda _: poison),
        rewritten(small, "constants_config.json", lambda _: opaque),
    ):
        with pytest.raises(InvalidModel, match="as a pickle"):
            load(data, tmp_path / "mine")
    assert not (tmp_path / "ran").exists()


def test_a_program_that_brings_other_files_is_refused(small: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO(small)
    with zipfile.ZipFile(stream, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/code.so", b"")
    with pytest.raises(InvalidModel, match=r"holds data/aotinductor/model/code\.so"):
        load(stream.getvalue(), tmp_path)


def test_a_program_in_the_older_format_is_refused(small: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO(small)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("version", "8.8")
    with pytest.raises(InvalidModel, match=r"older format|not a program"):
        load(stream.getvalue(), tmp_path)


# The model cache


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of three versions of one model."""
    for version in (1, 2, 3):
        put(tmp_path, version)
    return tmp_path


def put(folder: Path, version: int, seed: int = 0, **spec: object) -> None:
    torch.manual_seed(100 * version + seed)
    state = BranchedERFNet(1, 2).state_dict()
    weights = save({name: tensor for name, tensor in state.items() if tensor.is_floating_point()})
    written = ModelSpec.model_validate({"name": "cells", "version": version} | spec)
    model.write_model(folder / "cells" / str(version), written, weights)


def loaded(folder: Path, most_bytes: int = 1 << 30) -> ModelCache:
    return ModelCache(ModelRegistry([folder], refresh_s=0), "cpu", most_bytes)


def test_a_model_is_loaded_once_however_it_is_named(models: Path) -> None:
    cache = loaded(models)
    assert cache.get("cells") is cache.get("cells@3") is cache.get("cells")
    assert cache.get("cells@1") is not cache.get("cells@3")


def test_jobs_that_come_together_wait_for_one_load(models: Path) -> None:
    cache = loaded(models)
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: cache.get("cells"), range(4)))) == 1


def test_a_new_version_and_new_weights_of_an_old_one_are_taken(models: Path) -> None:
    cache = loaded(models)
    third, first = cache.get("cells"), cache.get("cells@1")
    put(models, 4)
    put(models, 1, seed=1)
    assert cache.get("cells").spec.version == 4
    assert cache.get("cells@1") is not first
    assert cache.get("cells@3") is third


def test_a_spec_that_changes_is_taken_without_other_weights(models: Path) -> None:
    cache = loaded(models)
    before = cache.get("cells")
    put(models, 3, unit=32)
    after = cache.get("cells")
    assert (before.spec.unit, after.spec.unit) == (64, 32) and before.spec.sha256 == after.spec.sha256


def test_past_the_bound_the_least_recently_used_go_and_the_last_one_stays(models: Path) -> None:
    size = loaded(models).get("cells").nbytes
    assert 8_000_000 < size < 10_000_000
    cache = loaded(models, most_bytes=2 * size)
    first, second = cache.get("cells@1"), cache.get("cells@2")
    assert cache.get("cells@1") is first
    cache.get("cells@3")
    assert cache.get("cells@1") is first
    assert cache.get("cells@2") is not second
    alone = loaded(models, most_bytes=0)
    assert alone.get("cells") is alone.get("cells")


@pytest.fixture
def device(models: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A CPU device that keeps one model loaded and sees each change of a model at once."""
    monkeypatch.setattr("maskq.workers.device.device.ModelRegistry", partial(ModelRegistry, refresh_s=0))
    settings = Settings(models=str(models), model_memory=0, torch_threads=1, tile_pixels=1024, max_pixels=100_000)
    return Device(DeviceSpec("cpu"), settings)


def test_a_job_that_has_begun_goes_on_with_what_it_began_with(
    models: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, pixels = model.read_spec(models / "cells" / "3"), np.zeros((16, 16, 1), np.uint8)
    ran: list[Segmenter] = []

    def start(segmenter: Segmenter, batch: list[Input], shape: tuple[int, int]) -> RunningBatch:
        ran.append(segmenter)
        if len(ran) == 1:  # after the job's first view its model changes, and another job loads the new one
            put(models, 3, seed=1, unit=32)
            other.append(device._models.get("cells@3"))
        return original(segmenter, batch, shape)

    original = Segmenter.start
    other: list[Segmenter] = []
    monkeypatch.setattr(Segmenter, "start", start)
    spec, fields = device.fields("cells@3", pixels, tta=True)
    assert len(ran) == 8 and set(ran) == {ran[0]} and ran[0] is not other[0]
    assert spec == ran[0].spec == before
    assert fields == ran[0].fields(pixels, tta=True)
    assert device.fields("cells@3", pixels)[0].unit == 32


def test_an_image_that_is_huge_only_once_enlarged_takes_its_turn(models: Path, device: Device) -> None:
    put(models, 4, diameter=20.0)
    pixels = np.zeros((24, 24, 1), np.uint8)
    with ThreadPoolExecutor(2) as threads:
        with device._tiled_images:
            enlarged = threads.submit(device.fields, "cells", pixels, diameter=10)
            as_it_is = threads.submit(device.fields, "cells", pixels)
            assert as_it_is.result(60)[0].version == 4
            assert not enlarged.done()
        assert enlarged.result(60)[0].version == 4


def test_a_model_that_is_gone_or_broken_fails_by_name_and_the_others_run(models: Path) -> None:
    cache = loaded(models)
    (models / "cells" / "2" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(InvalidModel, match="sha256"):
        cache.get("cells@2")
    with pytest.raises(UnknownModel):
        cache.get("cells@9")
    assert cache.get("cells@1")
