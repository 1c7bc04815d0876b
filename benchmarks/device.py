"""Inference alone: as a device process runs the network, compared with the published way, in turn.

The input is a normalised image in main memory. The published way is eager float32, one image at a time, and returns
the raw fields; ours returns the packed foreground. On a CPU, a case for each optimisation follows, with it (`ours`) and
without it (`yardstick`), all others being on. On a GPU, the fraction of the card's ceiling follows (see `roofline`),
and the cudnn benchmark (see `cudnn_search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from .harness import Case, alternate
from .inference import Shape, Timer, Tuned, ours, published, tuned
from .isolated import isolated

#: Shape → images per turn on a CPU, images per turn on a GPU, images per batch on a GPU.
_SHAPES: dict[Shape, tuple[int, int, int]] = {(256, 256): (8, 512, 16), (1024, 2048): (2, 64, 4)}
_WARM = 2


def run(quick: bool, images: Path | None, device: str = "cpu") -> list[Case]:
    """Compare images per second with the published way; then measure each part."""
    rounds = 3 if quick else 9
    if device == "cpu":
        return [case for shape in _SHAPES for case in _on_cpu(shape, rounds)]
    from .cudnn_search import cases

    comparisons = [case for shape in _SHAPES for case in _on_gpu(shape, rounds)]
    return [*comparisons, *cases(100 if quick else 400)]


def _on_cpu(shape: Shape, rounds: int) -> Iterator[Case]:
    count, name = _SHAPES[shape][0], _name(shape)
    with isolated(ours, shape, "cpu") as mine, isolated(published, shape, "cpu", heap=False) as theirs:
        yield _rates(f"{name}, over the published way", mine, theirs, count, rounds)
    with isolated(tuned, shape, Tuned()) as full:
        for part in fields(Tuned):
            with isolated(tuned, shape, replace(Tuned(), **{part.name: False})) as without:
                yield _rates(f"{name}, {part.name.replace('_', ' ')}", full, without, count, rounds)
        with isolated(tuned, shape, Tuned(), heap=False) as without:
            yield _rates(f"{name}, retained heap", full, without, count, rounds)


def _on_gpu(shape: Shape, rounds: int) -> Iterator[Case]:
    """Compare float32 and half precision with the published way and with the card's ceiling."""
    import torch

    from maskq.segmentation.torch_devices import supports_bfloat16

    from .roofline import layers, peak

    _, count, batch = _SHAPES[shape]
    work = layers(1, 2, batch, shape)
    halves = {"bf16": torch.bfloat16} if supports_bfloat16(torch.device("cuda")) else {"fp16": torch.float16}
    for precision, dtype in {"fp32": torch.float32, **halves}.items():
        with ExitStack() as until_done:
            mine = until_done.enter_context(isolated(ours, shape, "cuda", precision, batch))
            theirs = until_done.enter_context(isolated(published, shape, "cuda"))
            case = _rates(f"{_name(shape)}, {precision}, over the published way", mine, theirs, count, rounds)
        ceiling = peak("cuda", dtype, 8192, 1 << 30)
        limit = batch / ceiling.seconds(work, dtype.itemsize)
        measured = {"TFLOP/s": round(ceiling.flops_per_s / 1e12, 1), "GB/s": round(ceiling.bytes_per_s / 1e9, 1)}
        yield replace(case, more=case.more | {"batch": batch})
        yield Case.rate(f"{_name(shape)}, {precision}, of the card's ceiling", case.ours, limit, "images/s", **measured)


def _rates(name: str, mine: Timer, theirs: Timer, count: int, rounds: int) -> Case:
    """Compare images per second, measured in turn."""
    for timer in (mine, theirs):
        for _ in range(_WARM):
            timer(count)
    ours_s, theirs_s = alternate(partial(mine, count), partial(theirs, count), rounds)
    return Case.rate(name, count / ours_s, count / theirs_s, "images/s", images=count, rounds=rounds)


def _name(shape: Shape) -> str:
    return f"{shape[0]}×{shape[1]}"
