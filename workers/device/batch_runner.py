"""The interface between an executor and the code that runs batches, with its errors."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from maskq.tasks.runner import DeviceFailed

from .batching import BatchKey, Item, Model

Answer = TypeVar("Answer")


class DeviceLost(DeviceFailed):
    """The device, or the thread that runs it, is lost; the job has to run elsewhere."""


class DeviceMemoryExhausted(RuntimeError):
    """The device has too little memory for a batch; for a batch of one input, a larger device may do."""


class BatchRunner(ABC, Generic[Model, Item, Answer]):
    """Runs batches on a device. Only the executor's thread calls it.

    Its methods raise `DeviceMemoryExhausted`, and `DeviceLost` if no later call can succeed; any other error is
    attributed to one of the inputs.
    """

    #: Maximum number of batches on the device at once: the next one starts before the last one is finished.
    depth = 1

    def exclusive(self, key: BatchKey[Model], count: int) -> bool:
        """Return whether the next batch, of this key and size, must have the device to itself."""
        return False

    @abstractmethod
    def start(self, key: BatchKey[Model], batch: list[Item]) -> Any:
        """Start a batch."""

    @abstractmethod
    def finish(self, started: Any) -> list[Answer]:
        """Wait for a started batch and return an answer per input, in order. The oldest batch is finished first."""
