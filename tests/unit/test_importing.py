"""An imported checkpoint computes the same fields as before; any other file is refused with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from maskq.segmentation.errors import InvalidCheckpoint, InvalidModel, ModelExists
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.importing import PUBLISHED_UNIT, add_version, import_file
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.published_checkpoint import read_checkpoint
from maskq.segmentation.segmenter import Segmenter
from tests.checkpoints import Published, checkpoint, published, saved

STREET, MICROSCOPY = (3, 1), (1, 2)


class Executed:
    """A pickle that creates a file if it is loaded without protection."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.fixture(scope="module")
def street() -> Published:
    return published(*STREET)


def changed(network: nn.Module, **changes: Any) -> bytes:
    """The network's checkpoint with entries replaced, added, or, if None, removed."""
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    for name, tensor in changes.items():
        state[name.replace("__", ".")] = tensor
    return saved({"model_state_dict": {name: tensor for name, tensor in state.items() if tensor is not None}})


def import_checkpoint(data: bytes, folder: Path) -> Segmenter:
    (folder / "best.pth").write_bytes(data)
    imported = import_file(folder / "best.pth")
    spec = ModelSpec(name="them", unit=PUBLISHED_UNIT, **imported.spec_fields)
    return Segmenter.load(add_version(folder, spec, imported.weights))


@pytest.mark.parametrize(("layout", "parameters"), [(STREET, 2_252_644), ((3, 2), 2_252_838)])
def test_the_checkpoints_of_these_tests_are_as_large_as_the_published_ones(
    layout: tuple[int, int], parameters: int
) -> None:
    network = published(*layout)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == 433


@pytest.mark.parametrize("layout", [STREET, MICROSCOPY, (3, 2), (1, 1)], ids=str)
def test_an_imported_network_gives_the_fields_that_it_gave(layout: tuple[int, int], tmp_path: Path) -> None:
    network = published(*layout)
    segmenter = import_checkpoint(checkpoint(network), tmp_path)
    inputs = torch.randn(2, layout[0], 32, 48)
    with torch.inference_mode():
        expected = network(inputs).numpy()
    np.testing.assert_allclose(segmenter.forward(inputs.numpy()), expected, atol=1e-4)
    assert segmenter.spec.channels == ("rgb" if layout[0] == 3 else "grey")
    assert segmenter.spec.bandwidths == layout[1]
    assert "best.pth, sha256 " in segmenter.spec.source


def test_weights_are_kept_to_the_last_bit(street: Published) -> None:
    _, _, weights = read_checkpoint(checkpoint(street))
    ours, theirs = load(weights), street.state_dict()
    assert len(ours) == 433 - 2 - sum(name.endswith("num_batches_tracked") for name in theirs)
    assert torch.equal(ours["encoder.3.conv2.weight"], theirs["encoder.layers.2.conv1x3_1.weight"])


@pytest.mark.parametrize(
    "data",
    [
        lambda net: checkpoint(net, prefix=""),
        lambda net: saved(net.state_dict()),
        lambda net: checkpoint(net, optim_state_dict={"lr": 5e-4}, logger_data={"train": [0.5]}),
        lambda net: checkpoint(net, best_iou=np.float64(0.78), epoch=np.int64(3)),
        lambda net: saved(nn.ModuleDict({"module": net}).state_dict()),
        lambda net: changed(net, module__encoder__output_conv__weight=None, module__encoder__output_conv__bias=None),
        lambda net: changed(net, module__encoder__initial_block__bn__num_batches_tracked=None),
    ],
    ids=["no prefix", "bare state", "training state", "numpy numbers", "bare, prefixed", "trimmed", "no counter"],
)
def test_weights_are_read_from_every_published_form_of_checkpoint(
    street: Published, data: Callable[[nn.Module], bytes]
) -> None:
    assert read_checkpoint(data(street)) == read_checkpoint(checkpoint(street))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"module__decoders__1__output_conv__bias": None}, r"1 missing \(decoders\.1\.output_conv\.bias\)"),
        ({"module__attention": torch.zeros(3)}, r"1 unknown \(attention\)"),
        ({"module__encoder__output_conv__scale": torch.zeros(3)}, r"1 unknown \(encoder\.output_conv\.scale\)"),
        ({"attention": torch.zeros(3)}, r"1 unknown \(attention\)"),
        ({"decoders__1__output_conv__bias": torch.zeros(1)}, "twice"),
        ({"module__decoders__0__output_conv__bias": torch.zeros(7)}, r"the shape \(7,\) where \(3,\) belongs"),
        ({"module__decoders__0__output_conv__weight": torch.zeros(16, 5, 2, 2)}, "decoder 0 gives 5 fields"),
        ({"module__encoder__initial_block__conv__weight": torch.zeros(13, 4, 3, 3)}, "4 channels; 1 or 3 belong"),
        ({"module__encoder__initial_block__bn__bias": torch.full((16,), torch.nan)}, "NaN or infinite"),
        (
            {"module__encoder__initial_block__bn__bias": "sixteen"},
            "no plain tensors: module.encoder.initial_block.bn.bias",
        ),
        ({"module__encoder__initial_block__bn__bias": torch.ones(16).to_sparse()}, "no plain tensors: module.encoder"),
        ({"module__encoder__initial_block__bn__bias": torch.full((16,), 1e300, dtype=torch.double)}, "beyond float32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_error_names_the_unknown_missing_or_invalid_entry(
    street: Published, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidCheckpoint, match=complaint):
        read_checkpoint(changed(street, **changes))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "can be loaded as weights alone"),
        (b"Dear Sir or Madam", "can be loaded as weights alone"),
        (checkpoint(nn.Linear(1, 1))[:-200], "can be loaded as weights alone"),
        (saved([1, 2]), "no model_state_dict"),
        (saved({}), "no model_state_dict"),
        (saved({"model_state_dict": 7}), "no model_state_dict"),
        (saved({1: torch.zeros(1)}), "no model_state_dict"),
        (checkpoint(nn.Linear(1, 1)), "not a branched ERFNet as published"),
    ],
    ids=["empty", "text", "truncated", "list", "nothing", "number", "numbered", "another network"],
)
def test_a_file_that_is_no_checkpoint_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=complaint):
        read_checkpoint(data)


def test_code_in_a_checkpoint_is_refused_and_not_run(street: Published, tmp_path: Path) -> None:
    data = checkpoint(street, logger=Executed(tmp_path / "ran"))
    with pytest.raises(InvalidCheckpoint, match="weights alone"):
        read_checkpoint(data)
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(data), weights_only=False)
    assert (tmp_path / "ran").exists()  # without protection it runs


def test_an_existing_version_is_not_overwritten(tmp_path: Path) -> None:
    spec = ModelSpec(name="cells", version=2)
    assert add_version(tmp_path, spec, b"first") == tmp_path / "cells" / "2"
    with pytest.raises(ModelExists, match="another version"):
        add_version(tmp_path, spec, b"second")
    assert model.read_weights(tmp_path / "cells" / "2") == b"first"


def test_a_version_stored_without_a_version_folder_is_not_added_again(tmp_path: Path) -> None:
    model.write_model(tmp_path / "cells", ModelSpec(name="cells"), b"first")
    with pytest.raises(ModelExists, match=r"cells: there is a model already, cells@1"):
        add_version(tmp_path, ModelSpec(name="cells"), b"second")
    assert add_version(tmp_path, ModelSpec(name="cells", version=2), b"third") == tmp_path / "cells" / "2"


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_WEIGHTS_BYTES", 10)
    (tmp_path / "large.pth").write_bytes(b"12345678901")
    with pytest.raises(InvalidModel, match="over the limit of 10 bytes"):
        import_file(tmp_path / "large.pth")
    with pytest.raises(InvalidModel, match=r"small\.pth: No such file"):
        import_file(tmp_path / "small.pth")


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.pt2").write_bytes(b"Dear Sir or Madam")
    with pytest.raises(InvalidModel, match="not a program"):
        import_file(tmp_path / "mine.pt2")
