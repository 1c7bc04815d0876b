"""The CPU: no batches; every image runs at its own shape."""

from collections.abc import Mapping

from .base import Accelerator, DeviceExecutor, ExecutorOptions


class Cpu(Accelerator):
    """The CPU cores that the process may use."""

    name = node = torch_device = "cpu"
    is_gpu = batches = cudnn_benchmark = False

    def environment(self, index: int | None, environment: Mapping[str, str]) -> dict[str, str]:
        """Hide all GPUs."""
        return {"CUDA_VISIBLE_DEVICES": ""}

    def prepare_thread(self) -> None:
        """Limit torch to one thread: only executors have teams of threads (see `CpuExecutor`)."""
        import torch

        torch.set_num_threads(1)

    def jobs_in_hand(self, batch_size: int, cores: int) -> int:
        """Two more than there are cores, to be decoded or stored meanwhile; 4 at least."""
        return max(4, cores + 2)

    def executor(self, options: ExecutorOptions) -> DeviceExecutor:
        """Run up to one image per core."""
        from ..cpu_executor import CpuExecutor

        return CpuExecutor(options.cores, options.counters, options.on_death)
