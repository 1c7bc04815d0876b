"""Crops are cut ahead, in processes or in a thread, and are the same; who cuts them ends with the training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch

from maskq.segmentation.training.augmentation import CropSampler
from maskq.segmentation.training.crop_loader import AHEAD, CropLoader, processes_beside
from maskq.segmentation.training.loss import boxes
from tests.conftest import until
from tests.unit.test_dataset import crops as crops_of
from tests.unit.test_dataset import squares, write


def crops(folder: Path) -> CropSampler:
    for name, every in (("a", 24), ("b", 32)):
        write(folder, name, squares(every=every))
    return crops_of(folder, 32)


def test_processes_cut_what_a_thread_cuts(tmp_path: Path) -> None:
    source, steps = crops(tmp_path), range(5, 5 + 2 * AHEAD)  # every place is used twice
    with CropLoader(source, 3, 7, 0) as thread, CropLoader(source, 3, 7, 2) as processes:
        for mine, theirs in zip(thread.batches(steps), processes.batches(steps), strict=True):
            assert torch.equal(mine.images, theirs.images) and torch.equal(mine.labels, theirs.labels)
            assert mine.objects.tolist() == theirs.objects.tolist() == boxes(mine.labels.numpy()).tolist()
            assert len(mine.objects) > 0


def test_a_step_s_crops_stay_while_those_of_the_steps_after_it_are_cut(tmp_path: Path) -> None:
    with CropLoader(crops(tmp_path), 3, 7, 0) as cutter:
        first, second = islice(cutter.batches(range(100)), 2)
        kept = second.images.clone()
        cutter._pool.shutdown()  # all that was begun is cut
        assert torch.equal(second.images, kept) and not torch.equal(first.images, kept)


def test_what_goes_wrong_in_a_process_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = crops(tmp_path)
    monkeypatch.setattr(source, "batch", lambda *_: 1 / 0)  # before the fork
    with CropLoader(source, 1, 0, 1) as cutter, pytest.raises(ZeroDivisionError):
        next(cutter.batches(range(1)))


def test_a_cpu_is_left_its_cores() -> None:
    assert processes_beside(torch.device("cpu")) == 0


_KILLED = """
import sys, time
from pathlib import Path
from tests.unit.test_cutting import crops
from maskq.segmentation.training.crop_loader import CropLoader
with CropLoader(crops(Path(sys.argv[1])), 3, 7, 2) as cutter:
    next(cutter.batches(range(2)))
    print("cutting", flush=True)
    time.sleep(60)
"""


def test_processes_end_with_the_training_that_is_killed(tmp_path: Path) -> None:
    training = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None and training.stdout.readline() == "cutting\n"
        cutting = psutil.Process(training.pid).children()
        assert cutting
    finally:
        os.kill(training.pid, signal.SIGKILL)
        training.communicate()
    until(lambda: not any(process.is_running() for process in cutting))
