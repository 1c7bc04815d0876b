"""The crops of the steps to come, cut beside the training: by a thread beside a CPU, and by processes beside a GPU, for
which the thread's 230 crops of 256² a second may be too few.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import prod
from multiprocessing import get_context
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from .augmentation import CropSampler
from .loss import boxes

#: Batches that are cut or being cut: the one in hand and those of the steps after it.
AHEAD = 32
#: Processes at most.
_MOST = 16
#: How often a process looks whether the training that it cuts for is still there, seconds.
_LOOK_S = 1.0


@dataclass(frozen=True)
class Batch:
    """A step's crops, which stay until the next step's are taken."""

    #: (N, C, size, size) float32.
    images: torch.Tensor
    #: (N, size, size) int32.
    labels: torch.Tensor
    #: (K, 6) what `loss.boxes` says of the labels.
    objects: torch.Tensor


class CropLoader:
    """Cuts batches of `count` crops, which depend on the seed and the step alone. A context manager."""

    def __init__(self, crops: CropSampler, count: int, seed: int, processes: int) -> None:
        """With no `processes`, a thread does it."""
        self._crops, self._count, self._seed = crops, count, seed
        side = (crops.size, crops.size)
        # Not in /dev/shm, of which a container has 64 MB: memory that forked processes share with this one.
        self._images = _shared((AHEAD, count, crops.channels, *side), np.float32)
        self._labels = _shared((AHEAD, count, *side), np.int32)
        self._pool: Executor
        self._do: Callable[[int], NDArray[np.int64]]
        if processes:
            how = get_context("fork")  # a copy of all images in each process would not fit
            self._pool = ProcessPoolExecutor(processes, how, initializer=_begin, initargs=(self._cut, os.getpid()))
            self._do = _cut
        else:
            self._pool, self._do = ThreadPoolExecutor(1), self._cut

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batches(self, steps: Iterable[int]) -> Iterator[Batch]:
        """The batches of steps that follow one another, those to come being cut meanwhile."""
        coming: deque[tuple[int, Future[NDArray[np.int64]]]] = deque()
        later = iter(steps)
        while True:
            coming.extend((step, self._begin(step)) for step in islice(later, AHEAD - len(coming)))
            if not coming:
                return
            yield self._take(*coming.popleft())

    def _begin(self, step: int) -> Future[NDArray[np.int64]]:
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads; what is forked here computes with numpy alone.
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._pool.submit(self._do, step)

    def _take(self, step: int, begun: Future[NDArray[np.int64]]) -> Batch:
        found = torch.from_numpy(begun.result())
        images, labels = (torch.from_numpy(kept[step % AHEAD]) for kept in (self._images, self._labels))
        return Batch(images, labels, found)

    def _cut(self, step: int) -> NDArray[np.int64]:
        images, labels = self._crops.batch(self._count, np.random.default_rng((self._seed, step)))
        self._images[step % AHEAD], self._labels[step % AHEAD] = images, labels
        return boxes(labels)


def processes_beside(device: torch.device) -> int:
    """How many processes should cut for a training on the device."""
    if device.type == "cpu" or not hasattr(os, "fork"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST, cores - 1))


def _shared(shape: tuple[int, ...], kind: DTypeLike) -> NDArray[Any]:
    """Zeros that processes forked from this one share with it."""
    size = prod(shape) * np.dtype(kind).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), kind, prod(shape)).reshape(shape)


#: In a process that cuts: what it does.
_own: Callable[[int], NDArray[np.int64]]


def _begin(cut: Callable[[int], NDArray[np.int64]], parent: int) -> None:
    """A process that cuts begins. Ctrl-C is its parent's affair, and it ends with it however that ends."""
    global _own
    _own = cut
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cut(step: int) -> NDArray[np.int64]:
    return _own(step)
