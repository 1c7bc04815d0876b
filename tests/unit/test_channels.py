"""The channels to segment are chosen by number or name, and never guessed."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from maskq.segmentation.errors import AmbiguousChannels, NoSuchChannel
from maskq.segmentation.images.channels import Choice, channels_for_model, choose_channels
from maskq.segmentation.images.image import ChannelKind, Image
from maskq.segmentation.network.preprocessing import Channels, combine, to_input

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)


def image(kind: ChannelKind, channels: int, *names: str) -> Image:
    """12 rows of 9 pixels; the file has a name for each channel, a pixel size and a note."""
    return Image(RANDOM.integers(0, 255, (12, 9, channels), np.uint8), kind, names, (0.5, 0.5), ("a note",))


TWO = image(ChannelKind.SEPARATE, 2, "WGA", "DAPI")
FIVE = image(ChannelKind.SEPARATE, 5)
RGB, RGBA = image(ChannelKind.RGB, 3), image(ChannelKind.RGBA, 4)


@pytest.mark.parametrize(
    ("source", "grey", "rgb"),
    [
        (image(ChannelKind.GREY, 1), "grey", "grey"),
        (image(ChannelKind.GREY, 1, "DAPI"), "1 (DAPI)", "1 (DAPI)"),
        (image(ChannelKind.GREY_ALPHA, 2), "grey", "grey"),
        (image(ChannelKind.SEPARATE, 1), "grey", "grey"),
        (RGB, "RGB as luminance", "RGB"),
        (RGBA, "RGB as luminance", "RGB"),
    ],
    ids=["grey", "named", "grey-alpha", "one-separate", "rgb", "rgba"],
)
def test_grey_and_rgb_need_no_choice_and_give_the_input_of_the_file(source: Image, grey: str, rgb: str) -> None:
    chosen, labels = choose_channels(source, None, "cells")
    assert channels_for_model(chosen, labels, "grey", "cells") == (grey,)
    assert channels_for_model(chosen, labels, "rgb", "cells") == (rgb,)
    for channels in get_args(Channels):
        np.testing.assert_array_equal(
            to_input(chosen.pixels, channels, "percentile"),
            to_input(source.pixels, channels, "percentile"),
        )


@pytest.mark.parametrize(
    ("source", "choices"), [(TWO, r"2 separate channels, 1 \(WGA\), 2 \(DAPI\)"), (FIVE, "1, 2, 3, 4, 5")]
)
def test_separate_channels_have_to_be_chosen_and_the_message_has_the_choices(source: Image, choices: str) -> None:
    with pytest.raises(AmbiguousChannels, match=rf"^cells\.tif: .*{choices}.*option `channels`"):
        choose_channels(source, None, "cells.tif")


@pytest.mark.parametrize(
    ("source", "wanted", "index", "label"),
    [
        (TWO, 2, 1, "2 (DAPI)"),
        (TWO, "DAPI", 1, "2 (DAPI)"),
        (TWO, " dapi", 1, "2 (DAPI)"),
        (TWO, ("WGA",), 0, "1 (WGA)"),
        (FIVE, 5, 4, "5"),
        (RGB, 3, 2, "3 (blue)"),
        (RGB, "Blue", 2, "3 (blue)"),
        (RGBA, "red", 0, "1 (red)"),
        (RGBA, 4, 3, "4 (alpha)"),
        (image(ChannelKind.GREY, 1), 1, 0, "1 (grey)"),
        (image(ChannelKind.SEPARATE, 3, "dapi", "DAPI", "Dapi"), "DAPI", 1, "2 (DAPI)"),
        (image(ChannelKind.SEPARATE, 2, "405", "488"), "488", 1, "2 (488)"),
        (image(ChannelKind.RGB, 3, "Channel:0:0"), "green", 1, "2 (green)"),
    ],
)
def test_a_channel_is_chosen_by_number_or_name(source: Image, wanted: Choice, index: int, label: str) -> None:
    chosen, labels = choose_channels(source, wanted, "cells")
    assert labels == channels_for_model(chosen, labels, "grey", "cells") == (label,)
    np.testing.assert_array_equal(chosen.pixels, source.pixels[..., index : index + 1])
    assert (chosen.kind, chosen.pixel_size, chosen.notes) == (ChannelKind.GREY, source.pixel_size, source.notes)
    assert chosen.pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("source", "wanted", "message"),
    [
        (TWO, 3, r"no channel 3; its channels are 1 \(WGA\), 2 \(DAPI\)$"),
        (TWO, "GFP", r"no channel 'GFP'; its channels are 1 \(WGA\), 2 \(DAPI\)$"),
        (TWO, "2", "without quotes$"),
        (FIVE, "DAPI", "its channels are 1, 2, 3, 4, 5$"),
        (TWO, (1, "WGA"), "give different channels"),
        (TWO, (), "give different channels"),
        (RGB, 4, r"no channel 4; its channels are 1 \(red\), 2 \(green\), 3 \(blue\)$"),
    ],
)
def test_a_channel_that_the_image_does_not_have_is_refused_with_the_choices(
    source: Image, wanted: Choice, message: str
) -> None:
    with pytest.raises(NoSuchChannel, match=rf"^cells: .*{message}"):
        choose_channels(source, wanted, "cells")


def test_a_name_of_several_channels_is_refused() -> None:
    for names, wanted in ((("DAPI", "DAPI"), "DAPI"), (("DAPI", "dapi"), "Dapi")):
        with pytest.raises(AmbiguousChannels, match="2 channels are called"):
            choose_channels(image(ChannelKind.SEPARATE, 2, *names), wanted, "cells")


def test_names_of_a_file_are_shown_on_one_short_line() -> None:
    _, labels = choose_channels(image(ChannelKind.SEPARATE, 2, "a\n\x1b[31m", "b" * 300), (1, 2), "cells")
    assert labels[0] == "1 (a  [31m)" and len(labels[1]) < 50


# Several channels


def test_an_rgb_model_takes_three_chosen_channels_as_red_green_and_blue() -> None:
    chosen, labels = choose_channels(FIVE, (3, 1, 5), "cells")
    assert channels_for_model(chosen, labels, "rgb", "cells") == ("3", "1", "5")
    np.testing.assert_array_equal(chosen.pixels, FIVE.pixels[..., [2, 0, 4]])


@pytest.mark.parametrize(
    ("source", "wanted", "channels"),
    [
        (FIVE, (1, 2, 3), "grey"),
        (TWO, (1, 2), "grey"),
        (TWO, (1, 2), "rgb"),
        (FIVE, (1, 2, 3, 4), "rgb"),
        (RGB, (1, 2, 3), "grey"),
    ],
)
def test_several_channels_that_the_model_can_not_take_are_refused(source: Image, wanted: Choice, channels: Any) -> None:
    chosen, labels = choose_channels(source, wanted, "cells")
    with pytest.raises(AmbiguousChannels, match="composite"):
        channels_for_model(chosen, labels, channels, "cells")


@pytest.mark.parametrize(
    ("source", "wanted", "labels"),
    [
        (TWO, (2, 1), ("2 (DAPI)", "1 (WGA)")),
        (TWO, None, ("1 (WGA)", "2 (DAPI)")),
        (RGBA, None, ("1 (red)", "2 (green)", "3 (blue)")),
    ],
)
@pytest.mark.parametrize("composite", ["mean", "max"])
def test_a_composite_makes_one_channel_of_the_chosen_ones_or_of_all_but_alpha(
    source: Image, wanted: Choice | None, labels: tuple[str, ...], composite: Any
) -> None:
    chosen, found = choose_channels(source, wanted, "cells", composite)
    assert found == channels_for_model(chosen, found, "grey", "cells") == labels
    assert (chosen.kind, chosen.pixels.shape) == (ChannelKind.GREY, (12, 9, 1))
    assert chosen.notes[0] == "a note" and "normalised by its own percentiles" in chosen.notes[1]


def test_a_composite_of_one_channel_is_that_channel() -> None:
    chosen, labels = choose_channels(TWO, 2, "cells", "max")
    assert labels == ("2 (DAPI)",) and chosen.notes == TWO.notes
    np.testing.assert_array_equal(chosen.pixels, TWO.pixels[..., 1:])


def test_in_a_composite_a_dim_channel_counts_as_much_as_a_bright_one() -> None:
    dim, bright = np.zeros((40, 40), np.uint16), np.zeros((40, 40), np.uint16)
    dim[5:12, 5:12], bright[25:32, 25:32] = 9, 60_000
    pixels = np.stack([dim, bright], axis=2)
    for composite, value in (("max", 1.0), ("mean", 0.5)):
        combined = combine(pixels, composite)[..., 0]  # type: ignore[arg-type]
        assert combined[8, 8] == pytest.approx(value) and combined[28, 28] == pytest.approx(value)
        assert combined.dtype == np.float32 and combined[0, 0] == 0


def test_a_composite_is_nan_where_any_channel_is() -> None:
    pixels = RANDOM.random((9, 9, 2))
    pixels[3, 4, 0] = pixels[5, 6, 1] = np.nan
    assert np.argwhere(np.isnan(combine(pixels, "max"))).tolist() == [[3, 4, 0], [5, 6, 0]]
