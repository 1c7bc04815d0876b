"""How good a network in training is by now: AP on images that it is not trained on."""

from __future__ import annotations

import copy
import math

import numpy as np

from ..dataset import Pair
from ..evaluation.metrics import score, summarise
from ..models.spec import ModelSpec
from ..network.branched_erfnet import BranchedERFNet
from ..segmenter import Segmenter


class Validation:
    """Labelled images, read once, to measure a network on again and again."""

    def __init__(self, data: list[Pair]) -> None:
        self._images = [pair.read() for pair in data]

    def ap(self, network: BranchedERFNet, spec: ModelSpec, device: str) -> tuple[float, float]:
        """AP at IoU .5 and .75, means over images; NaN where there is no image. The network is left as it is."""
        if not self._images:
            return math.nan, math.nan
        segmenter = Segmenter(copy.deepcopy(network), spec, device)
        scores = [score(truth, np.asarray(segmenter.segment(pixels)[0]), (0.5, 0.75)) for pixels, truth in self._images]
        half, strict = summarise(scores).mean
        return half.ap, strict.ap
