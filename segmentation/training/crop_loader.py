"""A data loader that prefetches training crops: in a thread for a CPU, in processes for a GPU.

`torch.utils.data.DataLoader` was slower (2 cores, medians of 5 alternated runs). Without processes it loads between the
steps: a training step on 8 crops of 160² took 0.46 s instead of 0.44 s, on 16 of 256² 4.2 s instead of 3.1 s. With two
processes it gave 510 crops of 160² per second instead of 910, and 210 of 256² instead of 240: they send tensors through
/dev/shm, which has only 64 MB in a container.
"""

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

#: Batches in memory: the current one and those that are prefetched.
PREFETCH = 32
_MAX_PROCESSES = 16
#: Interval in which a process checks that its parent is alive, seconds.
_PARENT_CHECK_S = 1.0


@dataclass(frozen=True)
class Batch:
    """The crops of one step. Valid until the next batch is taken, which may overwrite its memory."""

    #: (N, C, size, size) float32.
    images: torch.Tensor
    #: (N, size, size) int32.
    labels: torch.Tensor
    #: (K, 6) int64: `loss.boxes` of the labels.
    objects: torch.Tensor


class CropLoader:
    """Prefetches batches of `count` crops. A batch depends only on the seed and its step. A context manager."""

    def __init__(self, crops: CropSampler, count: int, seed: int, processes: int) -> None:
        """Load with that many `processes`; 0 loads in a thread."""
        self._crops, self._count, self._seed = crops, count, seed
        side = (crops.size, crops.size)
        # Anonymous memory that forked processes share, not /dev/shm.
        self._images = _shared_array((PREFETCH, count, crops.channels, *side), np.float32)
        self._labels = _shared_array((PREFETCH, count, *side), np.int32)
        self._pool: Executor
        self._task: Callable[[int], NDArray[np.int64]]
        if processes:
            # fork, because a copy of all images in each process would not fit in memory
            context, arguments = get_context("fork"), (self._load, os.getpid())
            self._pool = ProcessPoolExecutor(processes, context, initializer=_start_process, initargs=arguments)
            self._task = _load_in_process
        else:
            self._pool, self._task = ThreadPoolExecutor(1), self._load

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batches(self, steps: Iterable[int]) -> Iterator[Batch]:
        """The batches of consecutive steps, in order; later ones are loaded in the background."""
        pending: deque[tuple[int, Future[NDArray[np.int64]]]] = deque()
        remaining = iter(steps)
        while True:
            pending.extend((step, self._submit(step)) for step in islice(remaining, PREFETCH - len(pending)))
            if not pending:
                return
            step, future = pending.popleft()
            objects = torch.from_numpy(future.result())
            images, labels = (torch.from_numpy(array[step % PREFETCH]) for array in (self._images, self._labels))
            yield Batch(images, labels, objects)

    def _submit(self, step: int) -> Future[NDArray[np.int64]]:
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork while threads run; the forked processes compute with numpy only.
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._pool.submit(self._task, step)

    def _load(self, step: int) -> NDArray[np.int64]:
        """Write the step's crops to their slot in shared memory; return their `boxes`."""
        images, labels = self._crops.batch(self._count, np.random.default_rng((self._seed, step)))
        self._images[step % PREFETCH], self._labels[step % PREFETCH] = images, labels
        return boxes(labels)


def default_processes(device: torch.device, cores: int) -> int:
    """The number of loader processes for a training on `device`; 0 for a CPU, whose cores the training needs.

    A GPU may need more than the 230 crops of 256² per second that one thread loads. `cores` are those that this process
    may use.
    """
    if device.type == "cpu" or not hasattr(os, "fork"):
        return 0
    return max(1, min(_MAX_PROCESSES, cores - 1))


def _shared_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in memory that forked processes share."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, prod(shape)).reshape(shape)


#: In a loader process: `CropLoader._load` of the loader that forked it.
_load_step: Callable[[int], NDArray[np.int64]]


def _start_process(load: Callable[[int], NDArray[np.int64]], parent: int) -> None:
    """Initialise a loader process: it ignores Ctrl-C, which its parent handles, and exits when its parent has died."""
    global _load_step
    _load_step = load
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch_parent() -> None:
        while os.getppid() == parent:
            threading.Event().wait(_PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()


def _load_in_process(step: int) -> NDArray[np.int64]:
    return _load_step(step)
