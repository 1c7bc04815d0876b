"""Training: object-centred crops, the three-term loss, Adam with a decaying rate, an average of the weights."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors
from torch import nn

from .. import hardware
from ..catalogue.model import ModelSpec
from ..errors import InvalidModel, InvalidSchedule, StaleCheckpoint
from ..ladder import STRIDE
from ..network import BranchedERFNet
from ..whole import whole
from .crops import Crops
from .hardness import Hardness
from .loss import Terms, batch_loss

_EMA = 0.999
_MARGIN = 8.0  # pixels: every object's margin at the start, about a small nucleus's radius


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Raises `InvalidSchedule`."""

    #: Optimiser steps.
    steps: int = 12_000
    #: Crops per step.
    batch: int = 8
    #: Sides of a crop, pixels; a multiple of 8.
    crop: int = 160
    #: Adam's rate at the start; it falls to 0 as (1 - step/steps)^0.9.
    rate: float = 1e-3
    #: Adam's weight decay.
    decay: float = 1e-4
    #: Longest gradient, by its norm.
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop % STRIDE:
            raise InvalidSchedule(f"the sides of a crop are a multiple of {STRIDE}, not {self.crop}")


@dataclass(frozen=True)
class Progress:
    """What `run` reports after each step."""

    step: int
    loss: float
    instance: float
    variance: float
    seed: float
    seconds: float


class Trainer:
    """One training: the network, its average and the optimiser. Lives for one `maskq train`.

    `checkpoint` and `resume` keep and restore all of it. A step's crops depend on the seed, the step and the hardness.
    """

    def __init__(
        self, spec: ModelSpec, schedule: Schedule, device: str = "cpu", *, compiled: bool = False, origin: str = ""
    ) -> None:
        """`origin` stands for the data and the weights that it begins with: a checkpoint of others is stale."""
        torch.manual_seed(schedule.seed)
        self.spec, self.schedule, self.device = spec, schedule, hardware.device(device)
        self.step, self._origin = 0, origin
        self._hardness = Hardness()
        self._half = hardware.half_helps(self.device)
        network = BranchedERFNet(spec.channel_count, spec.bandwidths)
        network.start_at(_MARGIN / spec.unit)
        self._network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = torch.compile(self._network) if compiled else self._network
        self.average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self._adam = torch.optim.Adam(
            self._network.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True
        )

    def start_from(self, other: nn.Module) -> None:
        """Begin with another network's weights. Raises `InvalidModel` where they don't fit."""
        for network in (self._network, self.average):
            try:
                network.load_state_dict(other.state_dict())
            except RuntimeError as error:
                raise InvalidModel(f"these weights are another network's: {error}") from error

    def run(self, crops: Crops) -> Iterator[Progress]:
        """Train to the schedule's last step, reporting each. The next step's crops are cut meanwhile."""
        self._network.train()
        self._hardness.begin(len(crops))
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._crops, crops, self.step, self._hardness.before)
            while self.step < self.schedule.steps:
                began = time.perf_counter()
                numbers, images, labels = coming.result()
                coming = pool.submit(self._crops, crops, self.step + 1, self._hardness.now)
                terms = self._advance(images, labels)
                self._hardness.follow(numbers, terms.hardness.cpu().numpy())
                instance, variance, seed = terms.instance.item(), terms.variance.item(), terms.seed.item()
                seconds = time.perf_counter() - began
                yield Progress(self.step, terms.total().item(), instance, variance, seed, seconds)

    def _crops(
        self, crops: Crops, step: int, hardness: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.schedule.seed, step))
        numbers = crops.draw(self.schedule.batch, rng, hardness)
        images, labels = crops.batch(numbers, rng)
        return numbers, torch.from_numpy(images), torch.from_numpy(labels)

    def _advance(self, images: torch.Tensor, labels: torch.Tensor) -> Terms:
        """One step of the optimiser."""
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate * (1 - self.step / self.schedule.steps) ** 0.9
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            raw = self._forward(images.to(self.device, memory_format=torch.channels_last))
        terms = batch_loss(raw.float(), labels, self.spec.unit)
        self._adam.zero_grad()
        terms.total().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self.schedule.clip)
        self._adam.step()
        self.step += 1
        self._follow()
        return Terms(*(t.detach() for t in terms))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a little towards the network; early on it follows faster."""
        keep = min(_EMA, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(self.average.state_dict().values(), self._network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)

    def checkpoint(self, path: Path) -> None:
        """Write everything that `resume` needs, atomically."""
        state = {
            "step": self.step,
            "schedule": json.dumps(asdict(self.schedule)),
            "sees": json.dumps(self._sees()),
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "adam": self._adam.state_dict(),
            "hardness": self._hardness.state(),
            "torch_rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            torch.save(state, part)

    def weights(self) -> bytes:
        """The averaged weights as float16 safetensors."""
        state = self.average.state_dict()
        return save_tensors({n: t.half().contiguous().cpu() for n, t in state.items() if t.is_floating_point()})

    def _sees(self) -> dict[str, str | float]:
        """What the weights depend on, but for the schedule."""
        spec = self.spec
        return {
            "channels": spec.channels,
            "normalisation": spec.normalisation,
            "scale": spec.scale,
            "unit": spec.unit,
            "bandwidths": spec.bandwidths,
            "min_pixels": spec.min_pixels,
            "origin": self._origin,
        }

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint as if there had been no break.

        Raises `StaleCheckpoint` where it was made by another schedule or for a model that sees images another way.
        """
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["schedule"] != json.dumps(asdict(self.schedule)):
            raise StaleCheckpoint(f"{path}: was made by another schedule, {state['schedule']}; remove it to start anew")
        sees = json.dumps(self._sees())
        if state.get("sees", sees) != sees:
            raise StaleCheckpoint(
                f"{path}: was made for another model or other data, {state['sees']}; remove it to start anew"
            )
        self.step = state["step"]
        self._network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._adam.load_state_dict(state["adam"])
        self._hardness.restore(state["hardness"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if self.device.type == "cuda" and state.get("device_rng") is not None:  # dropout draws on the device
            torch.cuda.set_rng_state(state["device_rng"].cpu(), self.device)
