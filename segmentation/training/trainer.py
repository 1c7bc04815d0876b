"""Training: object-centred crops, the three-term loss, Adam with a decaying rate, an average of the weights."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .. import torch_devices as hardware
from ..atomic_write import atomic_write
from ..errors import InvalidModel, InvalidSchedule, StaleCheckpoint
from ..models.spec import ModelSpec
from ..network.branched_erfnet import BranchedERFNet
from ..network.shape_buckets import STRIDE
from .augmentation import CropSampler
from .crop_loader import Batch, CropLoader, processes_beside
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
    #: AdamW's weight decay.
    decay: float = 1e-2
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

    `checkpoint` and `resume` keep and restore all of it. A step's crops depend on the seed and the step alone.
    """

    def __init__(
        self,
        spec: ModelSpec,
        schedule: Schedule,
        device: str = "cpu",
        *,
        compiled: bool = False,
        origin: str = "",
        processes: int | None = None,
    ) -> None:
        """`origin` stands for the data and the weights that it begins with: a checkpoint of others is stale.

        `processes` cut crops; None is as many as suit the device.
        """
        torch.manual_seed(schedule.seed)
        self.spec, self.schedule, self.device = spec, schedule, hardware.device(device)
        self.step, self._origin = 0, origin
        self._processes = processes_beside(self.device) if processes is None else processes
        self._half = hardware.half_helps(self.device)
        network = BranchedERFNet(spec.channel_count, spec.bandwidths)
        network.start_at(_MARGIN / spec.unit)
        self._network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = torch.compile(self._network) if compiled else self._network
        self.average = copy.deepcopy(self._network).eval().requires_grad_(False)
        # Not Adam, whose decay goes through its steps: what has a small gradient then loses a full step each time until
        # whole blocks are dead (with the published 1e-4 three of the encoder's eight dilated ones, after 8,750 steps).
        self._adam = torch.optim.AdamW(
            self._network.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True
        )

    def start_from(self, other: nn.Module) -> None:
        """Begin with another network's weights. Raises `InvalidModel` where they don't fit."""
        for network in (self._network, self.average):
            try:
                network.load_state_dict(other.state_dict())
            except RuntimeError as error:
                raise InvalidModel(f"these weights are another network's: {error}") from error

    def run(self, crops: CropSampler) -> Iterator[Progress]:
        """Train to the schedule's last step, reporting each. The crops of the next steps are cut meanwhile."""
        self._network.train()
        with CropLoader(crops, self.schedule.batch, self.schedule.seed, self._processes) as cutter:
            began = time.perf_counter()
            for batch in cutter.batches(range(self.step, self.schedule.steps)):
                terms = self._advance(batch)
                instance, variance, seed, total = (t.item() for t in (*terms, terms.total()))
                yield Progress(self.step, total, instance, variance, seed, time.perf_counter() - began)
                began = time.perf_counter()

    def _advance(self, batch: Batch) -> Terms:
        """One step of the optimiser; its terms, on the CPU."""
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate * (1 - self.step / self.schedule.steps) ** 0.9
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            raw = self._forward(batch.images.to(self.device, memory_format=torch.channels_last))
        labels, objects = batch.labels.to(self.device), batch.objects.to(self.device)
        terms = batch_loss(raw.float(), labels, objects, self.spec.unit)
        self._adam.zero_grad()
        terms.total().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self.schedule.clip)
        self._adam.step()
        self.step += 1
        self._follow()
        return Terms(*torch.stack(terms).detach().cpu())  # at once: a GPU is waited for each time

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a little towards the network; early on it follows faster."""
        keep = min(_EMA, (1 + self.step) / (10 + self.step))
        mine, theirs = self.average.state_dict(), self._network.state_dict()
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        move = get_ema_multi_avg_fn(keep)  # type: ignore[no-untyped-call]
        move([mine[name] for name in floats], [theirs[name] for name in floats], None)
        for name in mine.keys() - floats:  # counts
            mine[name].copy_(theirs[name])

    def checkpoint(self, path: Path) -> None:
        """Write everything that `resume` needs, atomically."""
        state = {
            "step": self.step,
            "schedule": json.dumps(asdict(self.schedule)),
            "sees": json.dumps(self._sees()),
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "adam": self._adam.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
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
        torch.set_rng_state(state["torch_rng"].cpu())
        if self.device.type == "cuda" and state.get("device_rng") is not None:  # dropout draws on the device
            torch.cuda.set_rng_state(state["device_rng"].cpu(), self.device)
