"""What this machine can compute on."""

from __future__ import annotations

import torch

from .errors import NoSuchDevice

#: What torch says where a device failed.
_FAILED = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS_", "CUDNN_STATUS_")
#: What it says where memory was too small: a CPU's, pinned memory or a context's, a library's handle or workspace. A
#: convolution tries one engine after another, takes none for which there is no workspace, and ends by saying so.
_SHORT = (
    "allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine to execute this computation",
)


def device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`. Raises `NoSuchDevice` where this machine has none of that name."""
    kind, _, number = name.partition(":")
    there = kind == "cpu" and not number
    if kind == "cuda" and (number or "0").isdecimal():
        there = int(number or "0") < torch.cuda.device_count()
    if not there:
        raise NoSuchDevice(f"no device {name!r} here; cpu is always there")
    return torch.device(name)


def at_fault(error: BaseException) -> bool:
    """Whether it was the device that failed, or its memory that was too small, and not what it was given to run."""
    return short_of_memory(error) or _says(error, _FAILED)


def short_of_memory(error: BaseException) -> bool:
    """Whether the device's memory was too small, or that of this process."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _says(error, _SHORT)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def half_helps(on: torch.device) -> bool:
    """Whether bfloat16 is in the hardware: emulated, a training step takes eight times as long as in float32."""
    if on.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
