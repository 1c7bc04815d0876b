"""Stacks with real workers: every plane is a job of its own, and the results come together."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from numpy.typing import NDArray
from skimage import data

from maskq import Client, Job, JobCancelled, JobExpired, JobFailed, Limits, Options, Result, Settings, State
from maskq.producer.client.job import Job as AnyJob
from maskq.producer.schema import Stage
from maskq.producer.state.connections import Connections
from maskq.producer.state.keys import plane_id
from maskq.workers.local.stack import Stack, running
from tests.conftest import processes, until
from tests.integration.conftest import asleep, forgive_deaths
from tests.results import write_result
from tests.unit.test_docs import ROOT, blocks

COINS = np.ascontiguousarray(data.coins()[:96, :96])  # type: ignore[no-untyped-call]
#: Six planes of 64×64 that differ by a shift of one pixel, as consecutive sections do.
PLANES = np.stack([COINS[shift : shift + 64, shift : shift + 64] for shift in range(6)])
WAIT_S = 90
DEVICE, CLUSTER = "maskq.workers.device.process", "maskq.workers.cluster"


def options(**chosen: Any) -> Options:
    """Thresholds so low that every plane has objects, whatever the model learned."""
    return Options(**({"seed_threshold": 0.5, "min_pixels": 5, "planes": "all"} | chosen))


def tiff(planes: NDArray[Any], axes: str = "ZYX", **metadata: Any) -> bytes:
    """The planes as an OME-TIFF with a page per plane."""
    file = io.BytesIO()
    tifffile.imwrite(file, planes, ome=True, photometric="minisblack", metadata={"axes": axes, **metadata})
    return file.getvalue()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(devices="cpu", cluster_processes=1, lease_s=2, resend_s=1, max_planes=20, max_attempts=5)
    with running(settings) as stack:
        yield stack


@pytest.fixture(autouse=True)
def _nothing_is_left(stack: Stack, connections: Connections) -> Iterator[None]:
    """No job is left hanging, and what counts towards the bounds is given back."""
    yield
    forgive_deaths(stack)
    until(lambda: connections.ledger.unfinished() == 0)
    assert connections.redis.get("maskq:bytes") in (None, b"0")
    assert not connections.redis.exists("maskq:clients", "maskq:stacks")


def planes_of(job: Job, numbers: range, connections: Connections) -> list[AnyJob]:
    return [AnyJob(plane_id(job.id, number), connections) for number in numbers]


def single(client: Client, plane: NDArray[Any]) -> Result:
    return client.submit(plane, options=options(planes=None)).wait(WAIT_S)


# Results


def test_a_stack_gives_what_its_planes_give_one_by_one(client: Client, connections: Connections) -> None:
    file = tiff(PLANES, PhysicalSizeX=0.25, PhysicalSizeXUnit="µm", PhysicalSizeY=0.5, PhysicalSizeYUnit="µm")
    job = client.submit(file, name="cells.ome.tif", options=options())
    result = job.wait(WAIT_S)
    assert (result.axes, result.shape, result.size, result.planes) == ("ZYX", (6,), (64, 64), (1, 2, 3, 4, 5, 6))
    assert result.labels.shape == (6, 64, 64) and result.labels.dtype == np.int32
    assert result.pixel_size == (0.5, 0.25) and result.channels
    assert result.job.planes and (result.job.planes.total, result.job.planes.done) == (6, 6)
    for number, plane in enumerate(PLANES, 1):
        alone = single(client, plane)
        np.testing.assert_array_equal(result.labels[number - 1], alone.labels)
        found = [item.model_copy(update={"plane": None}) for item in result.objects if item.plane == number]
        assert tuple(found) == alone.objects
    assert len(result.objects) == result.count > 6
    assert not any(connections.ledger.exists(plane.id) for plane in planes_of(job, range(1, 7), connections))
    assert not connections.redis.keys(f"maskq:payload:{job.id}-*")
    assert result == job.result()


def test_the_label_file_is_read_with_axes_and_pixel_size(client: Client) -> None:
    file = tiff(PLANES, PhysicalSizeX=0.25, PhysicalSizeXUnit="µm", PhysicalSizeY=0.5, PhysicalSizeYUnit="µm")
    result = client.submit(file, options=options()).wait(WAIT_S)
    with tifffile.TiffFile(io.BytesIO(result.label_file)) as labels:
        assert labels.series[0].axes == "ZYX" and labels.series[0].dtype == np.uint16 and labels.is_ome
        np.testing.assert_array_equal(labels.asarray(), result.labels)
        assert labels.ome_metadata and 'PhysicalSizeX="0.25"' in labels.ome_metadata


def test_an_array_with_axes_is_a_stack(client: Client) -> None:
    result = client.submit(PLANES.reshape(2, 3, 64, 64), options=options(axes="TZYX")).wait(WAIT_S)
    assert (result.axes, result.labels.shape) == ("TZYX", (2, 3, 64, 64))
    np.testing.assert_array_equal(result.labels[1, 2], single(client, PLANES[5]).labels)


def test_a_range_has_the_numbers_of_the_whole_stack(client: Client) -> None:
    result = client.submit(tiff(PLANES), options=options(planes="3-5")).wait(WAIT_S)
    assert (result.axes, result.shape, result.planes) == ("ZYX", (3,), (3, 4, 5))
    assert {item.plane for item in result.objects} == {3, 4, 5}
    np.testing.assert_array_equal(result.labels[0], single(client, PLANES[2]).labels)


@pytest.mark.parametrize(("planes", "pixels"), [("max", PLANES.max(axis=0)), ("4", PLANES[3])])
def test_a_projection_and_a_single_plane_are_one_image(client: Client, planes: str, pixels: NDArray[Any]) -> None:
    result = client.submit(tiff(PLANES), options=options(planes=planes)).wait(WAIT_S)
    assert (result.axes, result.planes, result.job.planes) == ("YX", (), None)
    np.testing.assert_array_equal(result.labels, single(client, pixels).labels)
    assert any("of 6 (Z=" in note for note in result.notes)


def test_linked_objects_have_one_number_through_the_planes(client: Client) -> None:
    alone = client.submit(tiff(PLANES), options=options()).wait(WAIT_S)
    result = client.submit(tiff(PLANES), options=options(link="iou")).wait(WAIT_S)
    assert len(result.objects) == len(alone.objects)
    assert result.count == len(np.unique(result.labels)) - 1 < len(result.objects)
    for item, before in zip(result.objects, alone.objects, strict=True):
        assert item.model_copy(update={"id": before.id}) == before
        assert item.plane is not None
        assert (result.labels[item.plane - 1] == item.id).sum() == item.area


def test_a_stack_of_channels_is_segmented_in_the_chosen_one(client: Client) -> None:
    both = np.stack([np.zeros_like(PLANES), PLANES], axis=1)
    file = tiff(both, "ZCYX", Channel={"Name": ["BF", "DAPI"]})
    result = client.submit(file, options=options(channels="DAPI")).wait(WAIT_S)
    assert result.channels == ("2 (DAPI)",)
    np.testing.assert_array_equal(result.labels[5], single(client, PLANES[5]).labels)
    with pytest.raises(JobFailed, match="DAPI") as failed:
        client.submit(file, options=options()).wait(WAIT_S)
    assert failed.value.error.type == "AmbiguousChannels"


def test_equal_stacks_are_computed_once(client: Client) -> None:
    file = tiff(PLANES)  # its identifier differs each time
    jobs = [client.submit(file, options=options(), reuse=True) for _ in range(3)]
    results = [job.wait(WAIT_S) for job in jobs]
    assert len({job.id for job in jobs}) == 3
    assert [State.EMBEDDED in result.job.times for result in results].count(True) == 1
    for result in results:
        assert result.planes == (1, 2, 3, 4, 5, 6)
        np.testing.assert_array_equal(result.labels, results[0].labels)
    other = client.submit(file, options=options(planes="1-5"), reuse=True).wait(WAIT_S)
    assert State.EMBEDDED in other.job.times


def test_result_files_of_a_stack(client: Client, tmp_path: Path) -> None:
    result = client.submit(tiff(PLANES), name="cells.tif", options=options()).wait(WAIT_S)
    paths = write_result(result, tiff(PLANES), tmp_path, "cells")
    assert {path.name for path in paths.values()} == {
        "cells.labels.tif",
        "cells.json",
        "cells.overlay.tif",
        "cells.csv",
    }
    assert tifffile.imread(tmp_path / "cells.overlay.tif").shape == (6, 64, 64, 3)
    header, *rows = (tmp_path / "cells.csv").read_text().splitlines()
    assert header == "plane,id,score,x,y,area,left,top,width,height" and len(rows) == len(result.objects)


@pytest.mark.parametrize("example", blocks(ROOT / "docs" / "stacks.md", "python"))
def test_the_examples_of_the_documentation_run(
    stack: Stack, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKQ_BROKER_URL", stack.settings.broker_url or "")
    Path("cells.tif").write_bytes(tiff(PLANES))
    exec(compile(example, "docs/stacks.md", "exec"), {})
    assert "ZYX (6,) (64, 64)" in capsys.readouterr().out or "link" in example


# Refusals and failures


def test_a_stack_without_the_option_is_refused_with_its_axes(client: Client) -> None:
    with pytest.raises(JobFailed, match=r"cells.tif: a stack of 6 planes \(Z=6\).*option planes") as failed:
        client.submit(tiff(PLANES), name="cells.tif", options=options(planes=None)).wait(WAIT_S)
    assert failed.value.error.type == "MultiPageImage"


@pytest.mark.parametrize(
    ("planes", "kind", "message"),
    [("5-7", "NoSuchPlane", "from 1 to 6"), ("9", "NoSuchPlane", r"has 6 \(Z=6\)"), ("0-2", "NoSuchPlane", "from 1")],
)
def test_planes_that_are_not_there_are_refused(client: Client, planes: str, kind: str, message: str) -> None:
    with pytest.raises(JobFailed, match=message) as failed:
        client.submit(tiff(PLANES), options=options(planes=planes)).wait(WAIT_S)
    assert failed.value.error.type == kind


def test_too_many_planes_are_refused(client: Client) -> None:
    with pytest.raises(JobFailed, match="21 planes, over the limit of 20; choose a range"):
        client.submit(tiff(np.zeros((21, 8, 8), np.uint8)), options=options()).wait(WAIT_S)


def test_an_unreadable_plane_fails_the_stack_by_its_number(client: Client, connections: Connections) -> None:
    bad = PLANES.astype(np.float32)
    bad[3, 5, 5] = np.nan
    job = client.submit(tiff(bad), name="cells.tif", options=options())
    with pytest.raises(JobFailed, match=r"cells.tif, plane 4 .*NonFiniteImage") as failed:
        job.wait(WAIT_S)
    assert failed.value.error.type == "PlanesFailed"
    assert not connections.redis.keys(f"maskq:*:{job.id}-*")


def test_planes_that_fail_fail_the_stack_with_their_numbers_and_reasons(
    client: Client, connections: Connections
) -> None:
    with asleep(CLUSTER):
        job = client.submit(tiff(PLANES), name="cells.tif", options=options())
        until(lambda: job.status().planes)
        for plane in planes_of(job, range(2, 4), connections):
            plane.cancel()
    with pytest.raises(
        JobFailed, match="cells.tif: 2 of 6 planes have no result: plane 2: JobCancelled: .*; plane 3"
    ) as failed:
        job.wait(WAIT_S)
    assert (failed.value.error.type, failed.value.error.stage) == ("PlanesFailed", Stage.CLUSTER)


# Ends on the way, and faults


def test_a_stack_that_is_cancelled_takes_its_planes_with_it(client: Client, connections: Connections) -> None:
    with asleep(CLUSTER):
        job = client.submit(tiff(PLANES), options=options())
        until(lambda: job.status().planes)
        planes = planes_of(job, range(1, 7), connections)
        until(lambda: planes[0].state is State.EMBEDDED)
        assert job.cancel() is State.CANCELLED
        assert {plane.state for plane in planes} == {State.CANCELLED}
    with pytest.raises(JobCancelled):
        job.wait(WAIT_S)
    until(lambda: not connections.redis.keys(f"maskq:payload:{job.id}*"))


def test_a_stack_expires_with_its_planes(client: Client, connections: Connections) -> None:
    with asleep(CLUSTER):
        job = client.submit(tiff(PLANES), options=options(), limits=Limits(expires_s=3))
        until(lambda: job.status().planes)
        with pytest.raises(JobExpired):
            job.wait(WAIT_S)
    states = {plane.state for plane in planes_of(job, range(1, 7), connections)}
    assert states <= {State.CANCELLED, State.EXPIRED}


def test_a_stack_is_split_though_the_queue_is_full(stack: Stack) -> None:
    settings = stack.settings.model_copy(update={"max_queued": 1, "max_client_queued": 1})
    with Client(settings=settings) as client:
        assert client.submit(tiff(PLANES), options=options()).wait(WAIT_S).planes


def test_progress_is_shown_while_the_planes_are_done(client: Client) -> None:
    seen = []
    many = np.concatenate([PLANES] * 3)
    (result,) = client.map([tiff(many)], watch=lambda job: seen.append(job.planes), options=options())
    assert len(result.planes) == 18
    counts = [planes.done for planes in seen if planes]
    assert counts == sorted(counts) and all(planes.total == 18 for planes in seen if planes)


def has_done(job: Job, count: int) -> bool:
    status = job.status()
    return status.state.ended or bool(status.planes and status.planes.done >= count)


def replaced(before: set[psutil.Process], module: str) -> set[psutil.Process]:
    return processes(module) - before


@pytest.mark.parametrize("module", [DEVICE, CLUSTER])
def test_a_stack_is_done_though_its_workers_are_killed(client: Client, connections: Connections, module: str) -> None:
    many = np.concatenate([PLANES] * 3)
    job = client.submit(tiff(many), options=options())
    deadline = time.monotonic() + WAIT_S
    for done in (0, 6):
        until(partial(has_done, job, done))
        before = processes(module)
        for process in before:
            os.kill(process.pid, signal.SIGKILL)
        until(partial(replaced, before, module), deadline=60)
    result = job.wait(deadline - time.monotonic())
    assert result.labels.shape == (18, 64, 64)
    np.testing.assert_array_equal(result.labels[6:12], result.labels[:6])


def test_a_worker_that_is_killed_within_the_split_leaves_it_to_the_next(
    client: Client, connections: Connections
) -> None:
    large = np.random.default_rng(0).integers(0, 255, (20, 512, 512), np.uint8)
    job = client.submit(tiff(large), options=Options(planes="all"))

    def within() -> bool:
        return bool(connections.redis.exists(f"maskq:payload:{plane_id(job.id, 2)}:image"))

    until(lambda: within() or job.state.ended)
    (device,) = processes(DEVICE)
    device.suspend()
    before = processes(DEVICE)
    split = job.status().planes is not None
    device.kill()
    until(lambda: processes(DEVICE) - before, deadline=60)
    assert job.wait(WAIT_S).shape == (20,)
    assert split or job.status().attempts[Stage.EMBED] == 2
