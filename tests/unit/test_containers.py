"""What is a container, which part of it is read, and what happens without its reader."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskq import ContainerUnavailable, InvalidJob, Options, PayloadTooLarge
from maskq.producer.client.containers import CONTAINERS
from maskq.producer.client.containers.choice import choose_part, choose_planes
from maskq.producer.client.containers.request import Request
from maskq.producer.client.containers.series import Series
from maskq.producer.settings import ClientSettings
from maskq.testing import FakeClient
from tests.conftest import png
from tests.container_files import write_ome_zarr

PLANE = np.arange(1200, dtype=np.uint16).reshape(30, 40)


def series(levels: tuple[tuple[int, int], ...], axes: dict[str, int] | None = None) -> Series:
    return Series("", axes or {}, levels, np.dtype(np.uint8), lambda *_: np.zeros(0), pixel_size=(0.5, 0.5))


def request(**options: Any) -> Request:
    return Request("a.svs", Options(**options), max_bytes=10**9, max_pixels=10**9)


@given(st.data())
def test_a_region_covers_the_same_place_on_every_level(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 5000)), data.draw(st.integers(1, 5000))
    reduction = data.draw(st.integers(1, 40))
    levels = ((height, width), (max(1, height // reduction), max(1, width // reduction)))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    part = choose_part(series(levels), request(level=1, region=(x, y, w, h)))
    (low_h, low_w), box = levels[1], part.box
    assert 0 <= box.top < box.bottom <= low_h
    assert 0 <= box.left < box.right <= low_w
    assert box.top * height / low_h <= y + 1e-6 or box.top == low_h - 1
    assert box.bottom * height / low_h >= y + h - 1e-6
    assert box.left * width / low_w <= x + 1e-6 or box.left == low_w - 1
    assert box.right * width / low_w >= x + w - 1e-6


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.5, 30))
def test_a_resized_image_has_the_wanted_resolution(height: int, width: int, wanted: float) -> None:
    levels = ((height, width), (max(1, height // 4), max(1, width // 4)))
    part = choose_part(series(levels), request(resolution=wanted))
    for length, full, size in zip(part.size, levels[0], part.pixel_size or (), strict=True):
        exact = full * 0.5 / wanted
        assert length == 1 or abs(length - exact) <= 0.5 + 0.011 * exact
        assert length * size == pytest.approx(full * 0.5)


@given(st.integers(2, 50), st.data())
def test_a_range_means_its_planes(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, count))
    last = data.draw(st.integers(first, count))
    expected = set(range(first - 1, last))
    for planes in (f"{first}-{last}", f"max:{first}-{last}"):
        assert choose_planes(series(((1, 1),), {"Z": count}), request(planes=planes)) == expected


def test_a_missing_reader_is_an_error_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("zarr", "tifffile", "czifile", "nd2", "liffile"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args, **kwargs)

    write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    for name in ("a.svs", "a.czi", "a.nd2", "a.lif"):
        (tmp_path / name).touch()
    monkeypatch.setattr(builtins, "__import__", without)
    for path in tmp_path.iterdir():
        with pytest.raises(ContainerUnavailable, match=r'pip install "maskq\[microscopy\]"'):
            FakeClient().submit(path)


def test_every_container_has_a_name_and_suffixes() -> None:
    assert [container.name for container in CONTAINERS] == ["OME-Zarr", "whole slide", "CZI", "ND2", "LIF"]
    assert all(suffix.startswith(".") for container in CONTAINERS for suffix in container.suffixes)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    for name in ("a.svs", "a.czi", "a.nd2", "a.lif", "a.zarr"):
        with pytest.raises(OSError, match="a\\."):
            FakeClient().submit(tmp_path / name)


def test_a_long_name_is_cut_and_the_part_is_kept(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a.zarr", PLANE, "yx")
    name = FakeClient().submit(path, name="n" * 300, options=Options(level=1)).status().spec.name
    assert len(name) == 255
    assert name.endswith("nnn [level 1]")


def test_an_image_file_is_read_from_a_url() -> None:
    data = png(np.zeros((4, 4), np.uint8))
    with fsspec.open("memory://bucket/cells.png", "wb") as file:
        file.write(data)
    job = FakeClient().submit("memory://bucket/cells.png")
    assert job.image() == data
    assert job.status().spec.name == "cells.png"
    with pytest.raises(PayloadTooLarge, match=r"memory://bucket/cells\.png: more than the limit of 10 bytes"):
        FakeClient(settings=ClientSettings(max_bytes=10)).submit("memory://bucket/cells.png")
    with pytest.raises(OSError, match="missing"):
        FakeClient().submit("memory://bucket/missing.png")
    with pytest.raises(InvalidJob, match="nosuch"):
        FakeClient().submit("nosuch://bucket/cells.png")


class Status(Exception):
    """An answer of HTTP that is no file."""

    status = 404


@pytest.mark.parametrize(
    ("cause", "raised", "message"),
    [
        (ConnectionRefusedError("refused"), ConnectionError, r"http://host/slide\.svs: can't be reached \(refused\)"),
        (
            ValueError("403, Forbidden"),
            OSError,
            r"http://host/slide\.svs: can't be read \(ValueError: 403, Forbidden\)",
        ),
        (Status(), FileNotFoundError, "^http://host/slide.svs$"),
        (None, FileNotFoundError, "^http://host/slide.svs$"),
    ],
)
def test_a_url_that_cant_be_reached_is_no_missing_file(
    monkeypatch: pytest.MonkeyPatch, cause: Exception | None, raised: type[Exception], message: str
) -> None:
    def opened(url: str, _: str) -> None:
        raise FileNotFoundError(url) from cause

    monkeypatch.setattr(fsspec, "open", opened)
    with pytest.raises(raised, match=message) as found:
        FakeClient().submit("http://host/slide.svs")
    assert isinstance(found.value, FileNotFoundError) == (raised is FileNotFoundError)


def test_a_slide_at_a_url_is_downloaded_and_sent_as_it_is() -> None:
    with fsspec.open("memory://bucket/slide.svs", "wb") as file:
        file.write(b"a slide")
    assert FakeClient().submit("memory://bucket/slide.svs").image() == b"a slide"
    options = Options(region=(0, 0, 9, 9), level=1)
    job = FakeClient().submit("memory://bucket/slide.svs", options=options)
    assert (job.image(), job.status().spec.options) == (b"a slide", options)
    with pytest.raises(InvalidJob, match="give the path of a file or folder here"):
        FakeClient().submit("memory://bucket/slide.svs", options=Options(resolution=1))
