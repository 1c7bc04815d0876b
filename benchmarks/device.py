"""The network alone: as a device process runs it, beside the published way of running it, in turn.

Both are given a normalised image in main memory. The published way is eager float32, one image at a time, and gives
the raw fields back; ours gives the packed foreground. On a CPU there follows a case for everything that is done for the
forward, with it (`ours`) and without it (`yardstick`), all else being done. On a GPU there follow the fraction of what
the card can do (see `roofline`), and cudnn's search (see `searching`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from .apart import apart
from .forwards import Shape, Timer, Tuned, ours, published, tuned
from .harness import Case, alternate

#: By shape, the images of a turn on a CPU and on a GPU, and those of a batch on a GPU.
_SHAPES: dict[Shape, tuple[int, int, int]] = {(256, 256): (8, 512, 16), (1024, 2048): (2, 64, 4)}
_WARM = 2


def run(quick: bool, images: Path | None, device: str = "cpu") -> list[Case]:
    """Images per second, ours over the published way; then what each part of it gives."""
    rounds = 3 if quick else 9
    if device == "cpu":
        return [case for shape in _SHAPES for case in _on_cpu(shape, rounds)]
    from .searching import cases

    found = [case for shape in _SHAPES for case in _on_gpu(shape, rounds)]
    return [*found, *cases(100 if quick else 400)]


def _on_cpu(shape: Shape, rounds: int) -> Iterator[Case]:
    count, name = _SHAPES[shape][0], _name(shape)
    with apart(ours, shape, "cpu") as mine, apart(published, shape, "cpu", heap=False) as theirs:
        yield _rates(f"{name}, over the published way", mine, theirs, count, rounds)
    with apart(tuned, shape, Tuned()) as full:
        for part in fields(Tuned):
            with apart(tuned, shape, replace(Tuned(), **{part.name: False})) as without:
                yield _rates(f"{name}, {part.name.replace('_', ' ')}", full, without, count, rounds)
        with apart(tuned, shape, Tuned(), heap=False) as without:
            yield _rates(f"{name}, retained heap", full, without, count, rounds)


def _on_gpu(shape: Shape, rounds: int) -> Iterator[Case]:
    """In float32 and in half precision: over the published way, and over the card's ceiling."""
    import torch

    from maskq.segmentation.torch_devices import half_helps

    from .roofline import layers, peak

    _, count, batch = _SHAPES[shape]
    work = layers(1, 2, batch, shape)
    halves = {"bf16": torch.bfloat16} if half_helps(torch.device("cuda")) else {"fp16": torch.float16}
    for precision, dtype in {"fp32": torch.float32, **halves}.items():
        with ExitStack() as until_done:
            mine = until_done.enter_context(apart(ours, shape, "cuda", precision, batch))
            theirs = until_done.enter_context(apart(published, shape, "cuda"))
            case = _rates(f"{_name(shape)}, {precision}, over the published way", mine, theirs, count, rounds)
        most = peak("cuda", dtype, 8192, 1 << 30)
        limit = batch / most.seconds(work, dtype.itemsize)
        measured = {"TFLOP/s": round(most.flops_per_s / 1e12, 1), "GB/s": round(most.bytes_per_s / 1e9, 1)}
        yield replace(case, more=case.more | {"batch": batch})
        yield Case.rate(f"{_name(shape)}, {precision}, of the card's ceiling", case.ours, limit, "images/s", **measured)


def _rates(name: str, mine: Timer, theirs: Timer, count: int, rounds: int) -> Case:
    """Images per second of both, in turn."""
    for timer in (mine, theirs):
        for _ in range(_WARM):
            timer(count)
    ours_s, theirs_s = alternate(partial(mine, count), partial(theirs, count), rounds)
    return Case.rate(name, count / ours_s, count / theirs_s, "images/s", images=count, rounds=rounds)


def _name(shape: Shape) -> str:
    return f"{shape[0]}×{shape[1]}"
