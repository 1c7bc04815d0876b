"""Torch devices: choose one, classify its errors, ask for bfloat16."""

import torch
from torch import Tensor

from .errors import NoSuchDevice

#: Parts of torch's messages if a device failed.
_DEVICE_FAILED = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS_", "CUDNN_STATUS_")
#: Parts of its messages if memory ran out: a CPU's, pinned memory or a context's, a library's handle or workspace. A
#: convolution tries one engine after another and ends with the last message if none finds enough workspace.
_OUT_OF_MEMORY = (
    "allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine to execute this computation",
)
#: Returns the number of devices of a kind.
_GPU_COUNTS = {"cuda": torch.cuda.device_count}


def device(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `cuda:N`. Raises `NoSuchDevice` if this machine does not have it."""
    kind, _, number = name.partition(":")
    exists = kind == "cpu" and not number
    if kind in _GPU_COUNTS and (number or "0").isdecimal():
        exists = int(number or "0") < _GPU_COUNTS[kind]()
    if not exists:
        raise NoSuchDevice(f"no device {name!r} on this machine; cpu always exists")
    return torch.device(name)


def is_device_error(error: BaseException) -> bool:
    """Whether the device failed or ran out of memory, rather than its input being invalid."""
    return is_out_of_memory(error) or _mentions(error, _DEVICE_FAILED)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or this process ran out of memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _mentions(error, _OUT_OF_MEMORY)


def _mentions(error: BaseException, parts: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(part in str(error) for part in parts)


def rng_state(device: torch.device) -> Tensor | None:
    """State of the GPU's random number generator; None for the CPU, whose state `torch.get_rng_state` returns."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_rng_state(device: torch.device, state: Tensor | None) -> None:
    """Restore a state of `rng_state`; does nothing if it or the device is of the CPU."""
    if state is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state.cpu(), device)


def supports_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; emulated, a training step takes eight times as long as in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
