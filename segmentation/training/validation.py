"""Validation during training: AP on held-out images."""

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
    """Held-out labelled images, kept in memory, that a network is scored on."""

    def __init__(self, data: list[Pair]) -> None:
        self._images = [pair.read() for pair in data]

    def ap(self, network: BranchedERFNet, spec: ModelSpec, device: str) -> tuple[float, float]:
        """AP at IoU .5 and .75, means over images; NaN without images. Runs a copy of the network."""
        if not self._images:
            return math.nan, math.nan
        segmenter = Segmenter(copy.deepcopy(network), spec, device)
        scores = [score(truth, np.asarray(segmenter.segment(pixels)[0]), (0.5, 0.75)) for pixels, truth in self._images]
        at_50, at_75 = summarise(scores).mean
        return at_50.ap, at_75.ap
