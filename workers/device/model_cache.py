"""The models that a device process has loaded: the few last used, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

from maskq.segmentation.models.registry import ModelRegistry
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.segmenter import Precision, Segmenter


class ModelCache:
    """Loads models at their first use. Threads may share it; there is one load at a time.

    A new version, or another spec or other weights under the same, is taken as it appears: what is loaded is known by
    its spec, which has the weights' sha256. Past `most_bytes` of weights the least recently used go, all but the last
    one; who still runs one keeps it alive.
    """

    def __init__(self, repository: ModelRegistry, device: str, most_bytes: int, precision: Precision = "fp32") -> None:
        self._repository, self._device, self._most_bytes = repository, device, most_bytes
        self._precision = precision
        self._kept: OrderedDict[ModelSpec, Segmenter] = OrderedDict()
        self._keeping, self._loading = threading.Lock(), threading.Lock()

    def get(self, name: str) -> Segmenter:
        """The model that `NAME` or `NAME@VERSION` means now: a job asks once and keeps what it got.

        Raises `UnknownModel`, `InvalidModel`.
        """
        found = self._repository.find(name)
        if kept := self._use(found.spec):
            return kept  # and no waiting while another model is loaded
        with self._loading:  # the first jobs come together, and one load serves them all
            return self._use(found.spec) or self._keep(Segmenter.load(found.place, self._device, self._precision))

    def _use(self, spec: ModelSpec) -> Segmenter | None:
        with self._keeping:
            if spec in self._kept:
                self._kept.move_to_end(spec)
            return self._kept.get(spec)

    def _keep(self, segmenter: Segmenter) -> Segmenter:
        with self._keeping:
            self._kept[segmenter.spec] = segmenter
            self._kept.move_to_end(segmenter.spec)
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)
        return segmenter
