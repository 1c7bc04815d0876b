"""The kinds of devices that maskq runs on, by their names in MASKQ_DEVICES.

To add one, write a subclass of `Accelerator` in a file of its own and list it here; torch's side of it (whether a
device exists, which errors are the device's) is in `maskq.segmentation.torch_devices`.
"""

from .base import Accelerator
from .cpu import Cpu
from .cuda import Cuda

CPU = Cpu()
ACCELERATORS: dict[str, Accelerator] = {accelerator.name: accelerator for accelerator in (CPU, Cuda())}
