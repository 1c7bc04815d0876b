"""A new architecture is one object in the registry of architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from maskq.segmentation.errors import ImageTooLarge, InvalidModel
from maskq.segmentation.models.importing import add_version, import_file
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.architectures import ARCHITECTURES, Architecture
from maskq.segmentation.network.architectures.architecture import ImportedNetwork, NetworkSpec
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.segmenter import Segmenter


def load(spec: NetworkSpec, weights: bytes, device: str) -> nn.Module:
    """A network whose seed logits are the weights' first byte."""
    if not weights:
        raise InvalidModel(f"{spec.ref}: no weights")
    network = nn.Conv2d(spec.channel_count, 3 + spec.bandwidths, 1).requires_grad_(False)
    network.weight.zero_()
    assert network.bias is not None
    network.bias.copy_(torch.tensor([0.0] * (2 + spec.bandwidths) + [float(weights[0])]))
    return network.to(device)


CONSTANT = Architecture(
    name="constant",
    weights_file="constant.bin",
    load=load,
    read_foreign=lambda data: ImportedNetwork("rgb", 1, data),
    import_suffixes=(".constant",),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, CONSTANT.name, CONSTANT)


def test_a_registered_architecture_is_imported_written_loaded_and_run(tmp_path: Path) -> None:
    (tmp_path / "seven.constant").write_bytes(b"\x07")
    imported = import_file(tmp_path / "seven.constant")
    folder = add_version(tmp_path, ModelSpec(name="seven", **imported.spec_fields), imported.weights)
    assert sorted(path.name for path in folder.iterdir()) == ["constant.bin", "model.toml"]
    segmenter = Segmenter.load(folder, precision="bf16")
    assert not segmenter.supports_padding
    fields = segmenter.forward(np.zeros((2, 3, 8, 16), np.float32))
    assert fields.shape == (2, 4, 8, 16) and (fields[:, -1] == 7).all()


def test_without_a_halo_it_is_not_run_in_tiles() -> None:
    spec = ModelSpec(name="x", network="constant", bandwidths=1)
    segmenter = Segmenter(load(spec, b"\x01", "cpu"), spec)
    with pytest.raises(ImageTooLarge, match="can't be run in tiles"):
        segmenter.segment(np.zeros((64, 64, 1), np.uint8), bounds=Bounds(tile_pixels=100))


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="no architecture 'unet'; there are: branched-erfnet, program, constant"):
        ModelSpec(name="x", network="unet")
