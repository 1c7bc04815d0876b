"""A model is read from its folder as it was written, and invalid folders and names are refused."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maskq.segmentation.errors import InvalidModel, UnknownModel
from maskq.segmentation.models.registry import ModelRegistry, RegisteredModel, find
from maskq.segmentation.models.spec import ModelSpec, read_spec, read_weights, write_model

WEIGHTS = b"weights, as far as a folder can tell"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A user's folder of two models; a third is in a neighbouring folder."""
    for folder in ("mine/cells", "mine/worms", "other/secret"):
        write_model(tmp_path / folder, ModelSpec(name=Path(folder).name, summary="Bright on dark"), WEIGHTS)
    return tmp_path / "mine"


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = ModelSpec(name="cells-2.1", version=3, channels="rgb", normalisation="unit", unit=1e-3, bandwidths=1)
    written = write_model(tmp_path / "cells-2.1", spec, WEIGHTS)
    assert read_spec(tmp_path / "cells-2.1") == written and read_weights(tmp_path / "cells-2.1") == WEIGHTS
    assert written == spec.model_copy(update={"sha256": written.sha256}) and re.fullmatch(
        "[0-9a-f]{64}", written.sha256
    )


def test_writing_again_replaces_the_model(tmp_path: Path) -> None:
    for weights in (WEIGHTS, b"better"):
        write_model(tmp_path, ModelSpec(name="cells"), weights)
    assert read_weights(tmp_path) == b"better"


@settings(deadline=None, max_examples=40)
@given(
    st.fixed_dictionaries(
        {
            "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
            "summary": st.text(),
            "licence": st.text(alphabet='"\\\x00\x1b\x7f\x85\u2028\r\n\t é🔬'),
            "unit": st.floats(1e-3, 1e6),
            "seed_threshold": st.floats(0.5, 1),
            "min_pixels": st.integers(0, 10**9),
        }
    )
)
def test_any_spec_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = write_model(Path(folder), ModelSpec(**values), WEIGHTS)
        assert read_spec(Path(folder)) == written


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "../cells"},
        {"name": "Cells"},
        {"name": "cells\n"},
        {"name": "a" * 65},
        {"channels": "cmyk"},
        {"unit": 0},
        {"unit": float("inf")},
        {"unit": float("nan")},
        {"unit": 1e-4},
        {"unit": 1e7},
        {"version": 10**9},
        {"halo": 5000},
        {"min_unclustered": 2**63},
        {"bandwidths": 3},
        {"seed_threshold": 0.4},
        {"min_pixels": -1},
        {"min_pixels": 2**63},
        {"colour": "blue"},
    ],
    ids=str,
)
def test_an_invalid_spec_is_refused_by_its_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ModelSpec.model_validate({"name": "cells"} | wrong)


@pytest.mark.parametrize(("channels", "count"), [("grey", 1), ("rgb", 3)])
def test_a_model_knows_its_number_of_channels(channels: Any, count: int) -> None:
    assert ModelSpec(name="cells", channels=channels).channel_count == count


# Modified folders


def test_weights_that_were_changed_are_refused(models: Path) -> None:
    (models / "cells" / "weights.safetensors").write_bytes(WEIGHTS[:-1] + b"?")
    with pytest.raises(InvalidModel, match=r"cells/weights\.safetensors: its sha256 is [0-9a-f]{64}, but model\.toml"):
        read_weights(models / "cells")


def test_weights_without_a_checksum_are_refused(models: Path) -> None:
    spec = models / "cells" / "model.toml"
    spec.write_text(re.sub("sha256.*", 'sha256 = ""', spec.read_text()))
    with pytest.raises(InvalidModel, match="sha256"):
        read_weights(models / "cells")


@pytest.mark.parametrize("missing", ["model.toml", "weights.safetensors"])
def test_a_model_that_lacks_a_file_is_refused_with_its_name(models: Path, missing: str) -> None:
    (models / "cells" / missing).unlink()
    with pytest.raises(InvalidModel, match=re.escape(missing)):
        read_weights(models / "cells")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"name = ",
        b"\xff\xfe",
        b'name = "cells"\nunit = "wide"\n',
        b'name = "cells"\nweight = 1\n',
        b"a = " + b"[" * 5_000,
    ],
    ids=["empty", "no-toml", "no-text", "wrong-type", "unknown-field", "too-deep"],
)
def test_a_spec_that_cannot_be_read_is_refused_with_its_path(models: Path, text: bytes) -> None:
    (models / "cells" / "model.toml").write_bytes(text)
    with pytest.raises(InvalidModel, match=rf"^{models}/cells/model\.toml: "):
        read_spec(models / "cells")


# Names


def test_a_model_is_found_by_its_name(models: Path) -> None:
    assert find("worms", (models,)) == models / "worms"


def test_the_first_folder_that_has_the_name_wins(models: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "first" / "worms", ModelSpec(name="worms", version=2), WEIGHTS)
    assert find("worms", (tmp_path / "first", models)) == tmp_path / "first" / "worms"


def test_models_are_listed_by_name(models: Path) -> None:
    (models / "notes").mkdir()
    (models / "cells.txt").touch()
    listed = [model.spec.name for model in ModelRegistry((models,)).list_models() if isinstance(model, RegisteredModel)]
    assert listed == sorted(listed) and {"cells", "worms"} <= set(listed) and "secret" not in listed


def test_the_error_for_an_unknown_model_names_the_known_ones(models: Path) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'cell'; there are: .*\bcells, .*\bworms"):
        find("cell", (models,))


def test_a_folder_that_does_not_exist_has_no_models(models: Path) -> None:
    assert find("cells", (models / "nowhere", models)) == models / "cells"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../other/secret",
        "cells/",
        "./cells",
        "cells/../worms",
        "*",
        "CELLS",
        "cells\0",
        "a" * 5_000,
        "\ud800",
    ],
    ids=lambda name: ascii(name[:20]),
)
def test_a_hostile_name_is_an_unknown_model(models: Path, name: str) -> None:
    with pytest.raises(UnknownModel):
        find(name, (models,))


def test_an_absolute_path_is_an_unknown_model(models: Path) -> None:
    with pytest.raises(UnknownModel):
        find(str(models / "cells"), (models,))
