"""The interface of a kind of device, and what its methods exchange with the device process.

The supervisor and the command line import this package, so torch is imported only inside methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from maskq.segmentation.network.inference import Input
    from maskq.segmentation.segmenter import Segmenter

    from ..batching import BatchKey, BatchLimits
    from ..cudnn_benchmark import CudnnBenchmark
    from ..metrics import Counters
    from ..runners import Output


@dataclass(frozen=True)
class Gpu:
    """One GPU, as torch reports it."""

    #: The vendor's product name.
    name: str
    #: Total memory, bytes.
    memory: int
    #: The name of its `Accelerator`.
    accelerator: str = "cuda"


@dataclass(frozen=True)
class ExecutorOptions:
    """What an executor needs to know of its process."""

    #: CPU cores that the process may use.
    cores: int
    #: Of a batch: from the settings and the option `batch` of the device.
    limits: BatchLimits
    counters: Counters
    benchmark: CudnnBenchmark
    #: Called once if the device is lost; ends the process.
    on_death: Callable[[], None]


class DeviceExecutor(Protocol):
    """Runs single inputs on a device. Threads may share it."""

    def run(self, key: BatchKey[Segmenter], item: Input) -> Output:
        """Run one input, possibly batched with others. Raises `DeviceLost`, `DeviceUnavailable`, and runner errors."""
        ...

    def health(self, limit_s: float) -> str | None:
        """Return why the device can't be used any more (lost, or busy with one batch for over `limit_s`), or None."""
        ...


class Accelerator(ABC):
    """A kind of device."""

    #: As in MASKQ_DEVICES.
    name: ClassVar[str]
    #: The first part of the names of its processes.
    node: ClassVar[str]
    #: Whether its devices are numbered and detected; `auto` prefers them.
    is_gpu: ClassVar[bool]
    #: The torch device inside a device process, whose `environment` hides all others.
    torch_device: ClassVar[str]
    #: Whether images are padded to bucket shapes, so that images of similar size share batches.
    batches: ClassVar[bool]
    #: Whether the cudnn benchmark setting has an effect.
    cudnn_benchmark: ClassVar[bool]

    def detect(self) -> Sequence[Gpu]:
        """List the GPUs of this kind in torch's order. Imports torch."""
        return ()

    @abstractmethod
    def environment(self, index: int | None, environment: Mapping[str, str]) -> dict[str, str]:
        """Build the variables with which a process sees only device `index`, if this process has `environment`."""

    def check(self) -> None:  # noqa: B027  # most kinds need none
        """Raise torch's error if this process can't use its device."""

    def prepare_thread(self) -> None:  # noqa: B027
        """Set up a thread before it uses torch for the first time."""

    @abstractmethod
    def jobs_in_hand(self, batch_size: int, cores: int) -> int:
        """Return the default number of jobs in hand of a process: running, being decoded or being stored."""

    @abstractmethod
    def executor(self, options: ExecutorOptions) -> DeviceExecutor:
        """Build the executor of this process's device."""
