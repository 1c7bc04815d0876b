"""GeoJSON gives the labels again, and has what QuPath reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from numpy.typing import NDArray

from maskq import FormatNotApplicable, Result
from tests.results import result_of, stack_result

from .images import LABELS, example


def collection(result: Result, simplify: float = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.to("geojson", simplify=simplify))
    assert document.keys() == {"type", "features"} and document["type"] == "FeatureCollection"
    return document


def drawn(features: list[dict[str, Any]], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The labels that shapely sees: the pixels whose centre is in a feature's polygons."""
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for feature in features:
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        inside = shapely.contains_xy(geometry, x.ravel(), y.ravel()).reshape(shape)
        assert geometry.area == inside.sum() and not labels[inside].any()
        labels[inside] = int(feature["properties"]["name"])
    return labels


@given(LABELS)
@settings(max_examples=100, deadline=None)
def test_any_labels_are_given_again(labels: NDArray[np.int32]) -> None:
    features = collection(result_of(labels))["features"]
    assert np.array_equal(drawn(features, labels.shape), labels)


def test_rings_are_closed_and_in_the_order_of_rfc_7946() -> None:
    features = collection(result_of(example()))["features"]
    assert [feature["geometry"]["type"] for feature in features] == [
        "Polygon",
        "Polygon",
        "Polygon",
        "MultiPolygon",
        "Polygon",
    ]
    for feature in features:
        polygons = feature["geometry"]["coordinates"]
        for polygon in polygons if feature["geometry"]["type"] == "MultiPolygon" else [polygons]:
            for number, ring in enumerate(polygon):
                assert ring[0] == ring[-1] and len(ring) >= 4
                assert shapely.LinearRing(ring).is_ccw == (number == 0)
    assert features[4]["geometry"]["coordinates"] == [[[15, 10], [16, 10], [16, 11], [15, 11], [15, 10]]]
    assert len(features[1]["geometry"]["coordinates"]) == 2


def test_a_feature_has_what_qupath_reads() -> None:
    one, again = (collection(result_of(example()))["features"][0] for _ in range(2))
    assert one == again and UUID(one["id"])
    assert one["properties"] == {
        "objectType": "detection",
        "name": "1",
        "classification": {"name": "nuclei"},
        "measurements": {"Score": 0.75, "Area px^2": 42, "Centroid X px": 6.5, "Centroid Y px": 3.0},
    }


def test_measurements_are_in_micrometres_if_the_pixel_size_is_known() -> None:
    result = replace(result_of(example()), pixel_size=(0.5, 0.25))
    assert collection(result)["features"][0]["properties"]["measurements"] == {
        "Score": 0.75,
        "Area µm^2": 42 * 0.125,
        "Centroid X µm": 6.5 * 0.25,
        "Centroid Y µm": 3.0 * 0.5,
    }


def test_each_object_of_a_stack_is_on_its_plane() -> None:
    planes = np.stack([example(), np.zeros((20, 30), np.int32), example()])
    features = collection(stack_result(planes))["features"]
    assert [feature["geometry"]["plane"] for feature in features] == 5 * [{"c": -1, "z": 2, "t": 0}] + 5 * [
        {"c": -1, "z": 4, "t": 0}
    ]
    assert len({feature["id"] for feature in features}) == 10
    in_time = replace(stack_result(np.stack([example()] * 4)), axes="TZYX", shape=(2, 2), planes=(1, 2, 3, 4))
    planes_of = [feature["geometry"]["plane"] for feature in collection(in_time)["features"][::5]]
    assert [(plane["t"], plane["z"]) for plane in planes_of] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_an_image_without_objects_has_no_features(shape: tuple[int, int]) -> None:
    assert collection(result_of(np.zeros(shape, np.int32)))["features"] == []


def test_more_objects_than_16_bits_count() -> None:
    labels = np.arange(1, 300 * 300 + 1, dtype=np.int32).reshape(300, 300)
    features = collection(result_of(labels, described=False))["features"]
    assert len(features) == 90_000
    last = features[-1]
    assert last["properties"]["name"] == "90000"
    assert last["geometry"]["coordinates"] == [[[299, 299], [300, 299], [300, 300], [299, 300], [299, 299]]]


def test_only_simplified_polygons_have_fewer_corners() -> None:
    y, x = np.mgrid[:60, :60]
    labels = ((y - 30) ** 2 + (x - 30) ** 2 < 25**2).astype(np.int32)
    labels[28:33, 28:33] = 0
    labels[29, 29] = 1
    exact, simple = (
        [shapely.geometry.shape(f["geometry"]) for f in collection(result_of(labels), simplify)["features"]]
        for simplify in (0.0, 1.0)
    )
    assert shapely.get_num_coordinates(simple[0]) < shapely.get_num_coordinates(exact[0]) / 2
    assert simple[0].is_valid and simple[0].hausdorff_distance(exact[0]) <= 1
    assert len(simple[0].geoms) == len(exact[0].geoms) == 2


def test_the_text_is_made_in_pieces() -> None:
    from maskq.producer.formats.registry import FORMATS
    from maskq.producer.formats.result_format import FormatOptions

    labels = np.arange(1, 10_001, dtype=np.int32).reshape(100, 100)
    pieces = [len(piece) for piece in FORMATS["geojson"].chunks(result_of(labels, described=False), FormatOptions())]
    assert len(pieces) > 10 and max(pieces) < 100_000


def test_overlays_need_the_image() -> None:
    with pytest.raises(FormatNotApplicable, match="give the image file"):
        result_of(example()).to("overlay")
