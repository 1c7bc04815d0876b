"""A thread and processes prefetch the same crops; the processes end with the training."""

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
from maskq.segmentation.training.crop_loader import PREFETCH, CropLoader, default_processes
from maskq.segmentation.training.loss import boxes
from tests.conftest import until
from tests.unit.test_dataset import crops as crops_of
from tests.unit.test_dataset import squares, write


def crops(folder: Path) -> CropSampler:
    for name, every in (("a", 24), ("b", 32)):
        write(folder, name, squares(every=every))
    return crops_of(folder, 32)


def test_processes_load_the_same_crops_as_a_thread(tmp_path: Path) -> None:
    source, steps = crops(tmp_path), range(5, 5 + 2 * PREFETCH)  # every slot is used twice
    with CropLoader(source, 3, 7, 0) as thread, CropLoader(source, 3, 7, 2) as processes:
        for first, second in zip(thread.batches(steps), processes.batches(steps), strict=True):
            assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
            assert first.objects.tolist() == second.objects.tolist() == boxes(first.labels.numpy()).tolist()
            assert len(first.objects) > 0


def test_a_batch_stays_valid_while_the_next_steps_are_loaded(tmp_path: Path) -> None:
    with CropLoader(crops(tmp_path), 3, 7, 0) as loader:
        first, second = islice(loader.batches(range(100)), 2)
        copy = second.images.clone()
        loader._pool.shutdown()  # waits for all submitted steps
        assert torch.equal(second.images, copy) and not torch.equal(first.images, copy)


def test_an_error_in_a_process_is_raised_in_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = crops(tmp_path)
    monkeypatch.setattr(source, "batch", lambda *_: 1 / 0)  # before the fork
    with CropLoader(source, 1, 0, 1) as loader, pytest.raises(ZeroDivisionError):
        next(loader.batches(range(1)))


def test_a_training_has_loader_processes_for_a_gpu_on_the_cores_that_it_may_use() -> None:
    assert default_processes(torch.device("cpu"), 64) == 0
    assert [default_processes(torch.device("cuda"), cores) for cores in (1, 2, 4, 64)] == [1, 1, 3, 16]


_TRAINING = """
import sys, time
from pathlib import Path
from tests.unit.test_crop_loader import crops
from maskq.segmentation.training.crop_loader import CropLoader
with CropLoader(crops(Path(sys.argv[1])), 3, 7, 2) as loader:
    next(loader.batches(range(2)))
    print("loading", flush=True)
    time.sleep(60)
"""


def test_processes_end_when_the_training_is_killed(tmp_path: Path) -> None:
    training = subprocess.Popen([sys.executable, "-c", _TRAINING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None and training.stdout.readline() == "loading\n"
        processes = psutil.Process(training.pid).children()
        assert processes
    finally:
        os.kill(training.pid, signal.SIGKILL)
        training.communicate()
    until(lambda: not any(process.is_running() for process in processes))
