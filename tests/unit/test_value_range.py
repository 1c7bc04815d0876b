"""A model that takes values as they are is not given another scale unnoticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskq.segmentation.errors import ValuesOutOfRange
from maskq.segmentation.network.value_range import range_notes

Array = NDArray[Any]
RAMP = np.linspace(0, 1, 100).reshape(10, 10, 1)

FINE = {
    "bool": RAMP > 0.5,
    "uint8": (RAMP * 255).astype(np.uint8),
    "uint16": (RAMP * 60_000).astype(np.uint16),
    "0..1": RAMP,
    "black": np.zeros((9, 9, 1), np.uint16),
    "nan": np.where(RAMP < 0.2, np.nan, RAMP),
}
NOTED = {
    "12 in 16 bits": (RAMP * 4095).astype(np.uint16),
    "8 in 16 bits": (RAMP * 255).astype(np.uint16),
    "negative background": RAMP - 0.2,
    "overshoot": RAMP * 1.3,
}
REFUSED = {
    "8 bits as floats": RAMP * 255,
    "far below 0": RAMP - 5,
    "8 bits in 64": (RAMP * 255).astype(np.int64),
    "16 bits in 32": (RAMP * 65_535).astype(np.uint32),
}


@pytest.mark.parametrize("pixels", FINE.values(), ids=FINE)
def test_the_usual_scales_of_a_type_need_no_note(pixels: Array) -> None:
    assert range_notes(pixels, "unit", "cells") == ()


@pytest.mark.parametrize("pixels", NOTED.values(), ids=NOTED)
def test_a_scale_that_may_be_meant_gets_one_note(pixels: Array) -> None:
    (note,) = range_notes(pixels, "unit", "cells")
    assert note.endswith(".") and "the model takes" in note


@pytest.mark.parametrize("pixels", REFUSED.values(), ids=REFUSED)
def test_a_scale_that_can_not_be_meant_is_refused_with_what_to_do(pixels: Array) -> None:
    with pytest.raises(ValuesOutOfRange, match=r"^cells: .*(scale the image|convert the image)"):
        range_notes(pixels, "unit", "cells")


@pytest.mark.parametrize("pixels", [*FINE.values(), *NOTED.values(), *REFUSED.values()])
def test_percentiles_fit_any_scale(pixels: Array) -> None:
    assert range_notes(pixels, "percentile", "cells") == ()
