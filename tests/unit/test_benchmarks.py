"""The values that the benchmarks compute and report. Their measurements are not tested here."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cudnn_search, latency, loops, roofline, soak
from benchmarks.__main__ import NAMES, parse
from benchmarks.harness import Case, alternate, report
from benchmarks.identity import identity_model
from benchmarks.inference import Tuned, ours, planes, prepared
from benchmarks.parts import by_part
from benchmarks.redis_load import RedisLoad
from benchmarks.sample_images import crops, label
from maskq.cli import bench, run
from maskq.segmentation.errors import ModelExists
from maskq.segmentation.images import decode
from maskq.segmentation.models.registry import find
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.inference import Input, RunningBatch
from maskq.segmentation.network.shape_buckets import bucket_shape
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.device import cudnn_benchmark
from maskq.workers.device.spec import DeviceSpec

pytestmark = pytest.mark.usefixtures("one_thread")

AMOUNTS = st.floats(1e-3, 1e6)


def test_the_last_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [Case.seconds("small", 0.5, 1.0, copies=2), Case.rate("large", 3, 2, "images/s")]
    report("clustering", cases, as_json=True)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["benchmark"], set(last)) == ("clustering", {"benchmark", "machine", "cases"})
    assert last["cases"][0] == {"case": "small", "ours": 0.5, "yardstick": 1.0, "unit": "s", "ratio": 2.0, "copies": 2}
    assert last["cases"][1]["ratio"] == 1.5


def test_without_json_there_is_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    report("clustering", [Case.seconds("small", 0.5, 1.0)], as_json=False)
    assert "small" in capsys.readouterr().out


@given(AMOUNTS, AMOUNTS)
@settings(max_examples=30)
def test_a_ratio_above_one_is_better_whatever_the_unit(ours: float, yardstick: float) -> None:
    spent, done = Case.amount("a", ours, yardstick, "MB"), Case.rate("b", ours, yardstick, "1/s")
    assert spent.ratio == pytest.approx(yardstick / ours, abs=1e-3)
    assert done.ratio == pytest.approx(ours / yardstick, abs=1e-3)


def test_both_are_run_in_turn() -> None:
    order: list[str] = []
    alternate(lambda: order.append("ours"), lambda: order.append("theirs"), 3)
    assert order == ["ours", "theirs"] * 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: name"),
        (["everything"], "invalid choice: 'everything'"),
        (["soak", "--images", "."], "--images is for huge, latency, pipeline; soak makes its own"),
        (["pipeline", "--images", "nowhere"], "no such file or folder: nowhere"),
        (["pipeline", "--device", "cpu"], "--device is for device, not for pipeline"),
        (["feed", "--peers", sys.executable], "--peers is for machinery, not for feed"),
        (["machinery", "--peers", "nowhere"], "no such program: nowhere"),
        (["device", "--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_samples_are_counted_by_the_innermost_part() -> None:
    loop, run = "asynloop (/lib/celery/worker/loops.py:130)", "run (/w/maskq/tasks/runner.py:9)"
    parts = by_part(
        f"<module> (/w/maskq/workers/device/process.py:1);{loop};poll (/lib/kombu/transport/redis.py:7) 5\n"
        f"{loop};brpop (/lib/redis/connection.py:3) 2\n"
        f"{run};claim (/w/maskq/producer/state/ledger/claims.py:4);read (/lib/redis/connection.py:3) 3\n"
        f"{run};decode (/w/maskq/segmentation/images/png.py:4);__exit__ (/lib/threading.py:4) 4\n"
        f"{run};<lambda> (<string>:1) 1\n"
        "wait (/lib/threading.py:331) 6\n"
    )
    expected = {"Celery and kombu": 7, "Redis client": 3, "decode, encode": 4, "tasks and ledger": 1, "other": 6}
    assert dict(parts) == expected


def test_several_folders_may_be_asked_for(tmp_path: Path) -> None:
    arguments = parse(["pipeline", "--images", str(tmp_path), str(tmp_path), "--quick"])
    assert (arguments.images, arguments.quick, arguments.json) == ([tmp_path, tmp_path], True, False)


def test_every_name_has_its_module() -> None:
    folder = Path(loops.__file__).parent
    assert [name for name in NAMES if not (folder / f"{name}.py").exists()] == []


def test_crops_are_the_same_every_time() -> None:
    first, again = crops(3), crops(3)
    assert first == again
    assert [Image.open(io.BytesIO(data)).size for data in first] == [(256, 256)] * 3


@pytest.mark.parametrize(
    ("folder", "model"),
    [("phase-contrast", "phase-contrast"), ("phase-contrast/images", "phase-contrast"), ("mine/images", "nuclei")],
)
def test_a_folder_is_run_with_the_model_of_its_name(folder: str, model: str, tmp_path: Path) -> None:
    assert loops.model_of(tmp_path / folder) == model


def test_crops_are_run_with_nuclei() -> None:
    assert loops.model_of(None) == "nuclei"


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert label(tmp_path / "nuclei" / "images") == "nuclei/images"
    assert label(None) == "256²"


def test_the_identity_model_finds_nothing_and_is_written_once(tmp_path: Path) -> None:
    name = identity_model(tmp_path)
    labels, scores = Segmenter.load(find(name, [tmp_path])).segment(decode(crops(1)[0]))
    assert (labels.shape, labels.max(), len(scores)) == ((256, 256), 0, 0)
    with pytest.raises(ModelExists):
        identity_model(tmp_path)


def test_both_loops_find_the_same_objects() -> None:
    (image,) = crops(1, side=128)
    labels, _ = loops.plain_work("nuclei")(image)
    ours, scores = Segmenter.load(find("nuclei")).segment(decode(image))
    assert len(scores) > 0
    assert (labels != ours).mean() < 1e-3  # packed fields are in half precision


def test_a_loop_gives_the_seconds_of_each_step() -> None:
    times = loops.timed_steps(len, lambda size: size + 1)([b"one", b"two"])
    assert times.shape == (2, 2)
    assert (times >= 0).all()


@given(st.lists(st.lists(st.floats(0, 10), min_size=6, max_size=6), min_size=1, max_size=20))
@settings(max_examples=30)
def test_the_overhead_is_what_the_queue_takes_beyond_the_loop(rows: list[list[float]]) -> None:
    sections = np.array(rows) + 0.001
    steps = np.full((len(rows), 2), 0.001)
    case = latency.case("256²", sections, steps)
    assert case.more["overhead_ms"] == pytest.approx(1000 * (np.median(sections.sum(1)) - 0.002), abs=0.01)
    assert case.more["queue_p50_ms"] <= case.more["queue_p95_ms"] <= case.more["queue_p99_ms"]
    assert all(f"{section}_ms" in case.more for section in latency.SECTIONS)


@given(st.lists(AMOUNTS, min_size=1, max_size=50), st.floats(1.0, 3.0))
@settings(max_examples=30)
def test_growth_shows_between_the_first_and_the_last_quarter(values: list[float], factor: float) -> None:
    flat, grown = sorted(values)[:1] * 8, sorted(values)[:1] * 4 + [sorted(values)[0] * factor] * 4
    assert soak.quarters(flat) == (flat[0], flat[0])
    assert soak.quarters(grown) == pytest.approx((flat[0], flat[0] * factor))


def test_each_process_that_lasted_gives_a_case() -> None:
    lasting, brief = {"device": [100.0, 103.0]}, {"redis-server 2": [8.0]}
    samples = soak.Samples(lasting | brief, {"device": [20, 21], "redis-server 2": [5]}, per_key=[11.0, 11.0])
    device, redis = samples.cases()
    assert (device.case, device.more["growth_percent"], device.more["descriptors"]) == ("device", 3.0, "20 to 21")
    assert (redis.ours, redis.more["growth_percent"]) == (11.0, 0.0)


def test_the_load_between_two_looks_is_shared_among_the_jobs() -> None:
    before, after = RedisLoad(100, 10, 1e6, 2e6, 1.0), RedisLoad(300, 30, 3e6, 6e6, 1.5)
    assert (after - before).over(10) == {
        "commands": 20.0,
        "requests": 2.0,
        "kB_in": 200.0,
        "kB_out": 400.0,
        "redis_cpu_ms": 50.0,
    }


def test_the_roofline_counts_the_arithmetic_that_torch_counts() -> None:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        BranchedERFNet(1, 2).eval()(torch.zeros(2, 1, 40, 72))
    assert sum(layer.flops for layer in roofline.layers(1, 2, 2, (40, 72))) == counter.get_total_flops()


def test_a_layer_takes_the_longer_of_its_arithmetic_and_its_memory() -> None:
    peak = roofline.Peak(flops_per_s=100.0, bytes_per_s=10.0)
    assert peak.seconds([roofline.Layer(200, 1), roofline.Layer(1, 10)], itemsize=4) == 2.0 + 4.0


def test_a_peak_is_measured() -> None:
    peak = roofline.peak("cpu", torch.float32, side=64, copied=1 << 16)
    assert peak.flops_per_s > 0
    assert peak.bytes_per_s > 0


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_what_is_left_out_of_the_preparation_is_left_out(folded: bool, last: bool) -> None:
    network = prepared(Tuned(folded_norms=folded, channels_last=last))
    norms = [block for block in network.modules() if isinstance(block, nn.BatchNorm2d)]
    wide = next(block for block in network.modules() if isinstance(block, nn.Conv2d) and block.in_channels == 64)
    assert (len(norms) < 10) is folded
    assert wide.weight.is_contiguous(memory_format=torch.channels_last) is last


@pytest.mark.parametrize("shape", [(256, 256), (300, 520)])
def test_planes_have_the_shape_that_was_asked_for(shape: tuple[int, int]) -> None:
    array = planes(shape)
    assert (array.shape, array.dtype) == ((1, *shape), np.dtype(np.float32))


def test_the_workloads_are_one_shape_several_and_all_different() -> None:
    workloads = cudnn_search.workloads(400)
    kinds = {name: len(set(shapes)) for name, shapes in workloads.items()}
    assert kinds["one shape"] == 1
    assert 3 <= kinds["varied shapes"] <= 9
    assert kinds["every shape new"] == 25
    assert [len(shapes) for shapes in workloads.values()] == [400, 400, 25]


def test_a_searched_batch_and_one_that_is_not_are_launched_by_threads_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a device process: on one thread, torch would keep the plans that it made without the search."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    launched = []
    original = Segmenter.start

    def start(segmenter: Segmenter, batch: list[Input], shape: tuple[int, int]) -> RunningBatch:
        launched.append((torch.backends.cudnn.benchmark, threading.get_ident()))
        return original(segmenter, batch, shape)

    work = cudnn_search.timed_batches("auto", "cpu")
    monkeypatch.setattr(Segmenter, "start", start)
    monkeypatch.setattr(cudnn_benchmark, "INITIAL_SEARCH_COST", 2)
    _, counters = work([(64, 64)] * 8)
    assert counters["cudnn_searches"] == 1
    by_flag = [{thread for on, thread in launched if on is flag} for flag in (False, True)]
    assert [len(threads) for threads in by_flag] == [1, 1] and by_flag[0] != by_flag[1]


def test_on_a_gpu_a_batch_is_padded_to_the_ladder_as_a_device_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    on_cpu = Segmenter.load(find("nuclei"))
    seen = []
    original = Segmenter.start

    def start(segmenter: Segmenter, batch: list[Input], shape: tuple[int, int]) -> RunningBatch:
        seen.append((len(batch), batch[0].planes.shape[1:], shape))
        return original(segmenter, batch, shape)

    monkeypatch.setattr(Segmenter, "load", lambda *_: on_cpu)
    monkeypatch.setattr(Segmenter, "start", start)
    assert bucket_shape(88, 96) == (128, 128)
    assert ours((88, 96), "cuda", batch=2)(3) > 0
    assert seen == [(2, (88, 96), (128, 128))] * 2


@pytest.mark.parametrize("convolutions", [True, False])
def test_the_peak_of_products_is_that_of_the_arithmetic_which_convolutions_may_use(
    convolutions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", convolutions)
    try:
        roofline.peak("cpu", torch.float32, side=16, copied=1 << 10)
        assert torch.backends.cuda.matmul.allow_tf32 is convolutions
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("devices", "images"), [("cpu", 32), ("cpu,cuda:1", 256)])
def test_bench_keeps_a_gpus_batches_filled_and_does_not_have_a_cpu_drain_them(devices: str, images: int) -> None:
    specs = [DeviceSpec.from_string(device) for device in devices.split(",")]
    assert bench.in_flight(specs) == images


@pytest.mark.parametrize(("sizes", "images"), [((0, 999), 128), ((1, 16 << 20), 64), ((1 << 30,), 32)])
def test_of_large_files_fewer_are_on_their_way(sizes: tuple[int, ...], images: int, tmp_path: Path) -> None:
    files = [tmp_path / f"{size}.png" for size in sizes]
    for file, size in zip(files, sizes, strict=True):
        file.touch()
        os.truncate(file, size)  # sparse: takes no disk space
    assert run.in_flight(files) == images


def test_a_file_that_is_gone_by_now_is_left_to_its_turn(tmp_path: Path) -> None:
    assert run.in_flight([tmp_path / "gone.png"]) == 128


@pytest.mark.parametrize(("setting", "searches"), [("on", 2), ("off", 0)])
def test_a_search_is_made_for_each_new_shape_or_for_none(
    setting: Literal["on", "off"], searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    seconds, counters = cudnn_search.timed_batches(setting, "cpu")([(64, 64), (72, 64), (64, 64)])
    assert seconds > 0
    assert counters["cudnn_searches"] == searches
