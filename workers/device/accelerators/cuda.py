"""NVIDIA GPUs: batches of images that are padded to bucket shapes."""

from collections.abc import Mapping, Sequence

from .base import Accelerator, DeviceExecutor, ExecutorOptions, Gpu


class Cuda(Accelerator):
    """An NVIDIA GPU."""

    name, node, torch_device = "cuda", "gpu", "cuda:0"
    is_gpu = batches = cudnn_benchmark = True

    def detect(self) -> Sequence[Gpu]:
        """List the GPUs that CUDA_VISIBLE_DEVICES leaves."""
        import torch

        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [Gpu(gpu.name, gpu.total_memory, self.name) for gpu in properties]

    def environment(self, index: int | None, environment: Mapping[str, str]) -> dict[str, str]:
        """Show one GPU only, by the name that `environment` has for it (a number or a UUID)."""
        names = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        index = index or 0
        return {"CUDA_VISIBLE_DEVICES": names[index].strip() if index < len(names) else str(index)}

    def check(self) -> None:
        """Allocate memory on the GPU."""
        import torch

        torch.zeros(1, device=self.torch_device)

    def jobs_in_hand(self, batch_size: int, cores: int) -> int:
        """Four batches: two are on the GPU, two are decoded or stored."""
        return 4 * batch_size

    def executor(self, options: ExecutorOptions) -> DeviceExecutor:
        """Run batches of 1, 2, 4, 8 … images."""
        from ..executor import BatchExecutor
        from ..runners import GpuRunner

        return BatchExecutor(
            GpuRunner(options.counters, options.benchmark),
            options.limits,
            in_hand=options.counters.in_hand,
            on_death=options.on_death,
            on_halving=options.counters.add_halving,
        )
