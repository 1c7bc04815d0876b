"""The models that a device process has loaded: an LRU cache, bounded by memory."""

import threading
from collections import OrderedDict

from maskq.segmentation.models.registry import ModelRegistry
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.segmenter import Precision, Segmenter


class ModelCache:
    """Loads each model at its first use. Threads may share it; one model is loaded at a time.

    The key is the model's spec, which includes the weights' sha256, so a new version, or a changed spec or changed
    weights under the same version, is loaded as soon as it appears. If the weights exceed `max_bytes`, the least
    recently used models go, except for the last one; a job that still runs one keeps it alive.
    """

    def __init__(self, registry: ModelRegistry, device: str, max_bytes: int, precision: Precision = "fp32") -> None:
        self._registry, self._device, self._max_bytes = registry, device, max_bytes
        self._precision = precision
        self._loaded: OrderedDict[ModelSpec, Segmenter] = OrderedDict()
        self._access, self._loading = threading.Lock(), threading.Lock()

    def get(self, name: str) -> Segmenter:
        """Return the model that `NAME` or `NAME@VERSION` names now: a job calls this once and keeps the result.

        Raises `UnknownModel`, `InvalidModel`.
        """
        model = self._registry.find(name)
        if segmenter := self._lookup(model.spec):
            return segmenter  # without waiting while another model is loaded
        with self._loading:  # the first jobs arrive together, and one load serves them all
            return self._lookup(model.spec) or self._add(Segmenter.load(model.location, self._device, self._precision))

    def _lookup(self, spec: ModelSpec) -> Segmenter | None:
        with self._access:
            if spec in self._loaded:
                self._loaded.move_to_end(spec)
            return self._loaded.get(spec)

    def _add(self, segmenter: Segmenter) -> Segmenter:
        with self._access:
            self._loaded[segmenter.spec] = segmenter
            self._loaded.move_to_end(segmenter.spec)
            while len(self._loaded) > 1 and sum(model.nbytes for model in self._loaded.values()) > self._max_bytes:
                self._loaded.popitem(last=False)
        return segmenter
