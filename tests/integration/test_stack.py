"""The client with real workers: one stack for the whole module, which no test may damage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from celery import Celery
from PIL import Image
from skimage import data

from maskq import Client, Job, JobCancelled, JobExpired, JobFailed, Limits, Options, Result, Settings, State
from maskq.producer.schema import JobSpec, Stage
from maskq.producer.state.celery_config import celery_settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.routing import CLUSTER_QUEUE, EMBED_QUEUES, TASKS, message_lists, queue_length
from maskq.producer.state.store import Payload
from maskq.tasks.celery_app import create_app
from maskq.workers.local.stack import Stack, running
from tests.conftest import png, until
from tests.image_files import npy, saved
from tests.integration.conftest import asleep

COINS = np.ascontiguousarray(data.coins()[:64, :64])  # type: ignore[no-untyped-call]
#: Thresholds so low that every image has objects, whatever the model learned.
ANYTHING = Options(seed_threshold=0.5, min_pixels=5)
WAIT_S = 60


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = Settings(
        devices="cpu", cluster_processes=1, lease_s=5, resend_s=1, max_pixels=100_000, max_bytes=1_000_000
    )
    with running(settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with Client(settings=stack.settings.model_copy(update={"max_bytes": 10_000_000})) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_process_restarts(stack: Stack) -> Iterator[None]:
    """Whatever a test submits, no process is replaced."""
    before = _processes()
    yield
    assert _processes() == before


def _processes() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def quiet(connections: Connections) -> bool:
    """Whether every message has been consumed and acknowledged."""
    queued = sum(queue_length(connections.redis, queue) for queue in (*EMBED_QUEUES, CLUSTER_QUEUE))
    return queued == 0 == connections.redis.hlen("unacked")


# Results


def test_a_path_its_bytes_and_its_pixels_give_the_same_masks(client: Client, tmp_path: Path) -> None:
    (tmp_path / "coins.png").write_bytes(png(COINS))
    sources = (tmp_path / "coins.png", str(tmp_path / "coins.png"), png(COINS), COINS, COINS[..., None])
    results = [client.submit(source, options=ANYTHING).wait(WAIT_S) for source in sources]
    assert results[0].objects
    assert {result.label_file for result in results} == {results[0].label_file}
    assert [result.job.spec.name for result in results] == ["coins.png", "coins.png", "image", "array", "array"]


def test_labels_and_objects_of_a_result_agree(client: Client) -> None:
    result = client.submit(COINS, options=ANYTHING).wait(WAIT_S)
    assert result.size == result.labels.shape == (64, 64)
    assert result.model.startswith("nuclei@")
    for item in result.objects:
        rows, columns = np.nonzero(result.labels == item.id)
        assert item.area == len(rows)
        assert item.bbox == (columns.min(), rows.min(), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        assert item.centroid == pytest.approx((columns.mean(), rows.mean()), abs=1e-3)
        assert item.rle.size == (64, 64)
        assert 0.5 <= item.score <= 1
    assert set(np.unique(result.labels)) - {0} == {item.id for item in result.objects}


def test_a_done_job_has_its_states_and_timings(client: Client) -> None:
    job = client.submit(COINS)
    status = job.wait(WAIT_S).job
    assert status == job.status()
    assert list(status.timings) == ["queued", "embedding", "embedded", "clustering", "total"]
    assert all(spent > 0 for spent in status.timings.values())
    assert status.attempts == {Stage.EMBED: 1, Stage.CLUSTER: 1}
    assert status.error is None


def test_task_events_are_sent_only_after_a_monitor_requests_them(
    client: Client, connections: Connections, stack: Stack
) -> None:
    """Flower requests events in this way. This stack has no Flower, and a private Redis."""

    def task_events() -> set[str]:
        """The task events of one job, up to the workers' next heartbeats."""
        client.submit(COINS, options=ANYTHING).wait(WAIT_S)
        kinds: list[str] = []
        while kinds.count("worker.heartbeat") < 4 and len(kinds) < 100:  # from each of two workers every 2 s
            if message := events.get_message(timeout=10):
                kinds.append(message["channel"].decode().partition("celeryev/")[2])
        return {kind for kind in kinds if kind.startswith("task.")}

    with connections.redis.pubsub(ignore_subscribe_messages=True) as events:  # type: ignore[no-untyped-call]
        events.psubscribe("*celeryev/*")
        assert task_events() == set()
        create_app(stack.settings).control.enable_events()
        until(lambda: task_events() == {"task.multi"}, deadline=30)  # sent in batches


def test_options_change_the_result_of_their_own_job_only(client: Client) -> None:
    def objects(options: Options | None) -> tuple[Any, ...]:
        return client.submit(COINS, options=options).wait(WAIT_S).objects

    plain, everything = objects(None), objects(ANYTHING)
    assert len(everything) > 0
    assert objects(Options(seed_threshold=0.5, min_pixels=64 * 64)) == ()
    assert objects(Options(seed_threshold=1, min_pixels=5)) == ()
    assert objects(ANYTHING) == everything
    assert objects(None) == plain


@pytest.mark.parametrize(
    "image",
    [
        saved(COINS, "JPEG"),
        saved(COINS.astype(np.float32), "TIFF"),
        saved(COINS, "BMP"),
        saved(np.stack([COINS] * 3, axis=2), "WEBP"),
        npy(COINS.astype(np.uint16)),
        png(np.zeros((1, 1), np.uint8)),
    ],
    ids=["jpeg", "float tiff", "bmp", "colour webp", "16-bit npy", "one pixel"],
)
def test_every_kind_of_image_has_masks_of_its_size(client: Client, image: bytes) -> None:
    result = client.submit(image).wait(WAIT_S)
    assert result.labels.shape == ((1, 1) if len(image) < 100 else (64, 64))


# Client.map


def test_map_keeps_order_and_bound_and_reports_progress(client: Client) -> None:
    taken, sizes = 0, []
    progress: list[int] = []

    def images() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal taken
        for height in range(20, 32):
            taken += 1
            yield COINS[:height]

    for result in client.map(images(), in_flight=3, progress=progress.append):
        sizes.append(result.size[0])
        assert taken <= len(sizes) + 2
    assert sizes == list(range(20, 32))
    assert progress == list(range(1, 13))


def test_map_returns_each_error_in_place_of_its_result(client: Client, tmp_path: Path) -> None:
    sources: list[Any] = [COINS, b"no image", tmp_path / "gone.png", np.array([None]), COINS[:32]]
    first, bad, missing, odd, last = client.map(sources, errors="return")
    assert isinstance(first, Result) and isinstance(last, Result)
    assert (first.size, last.size) == ((64, 64), (32, 64))
    assert isinstance(bad, JobFailed) and bad.error.type == "NotAnImage"
    assert isinstance(missing, FileNotFoundError)
    assert "object is no image" in str(odd)


def test_map_waits_while_the_queue_is_full(connections: Connections, stack: Stack) -> None:
    with Client(settings=stack.settings.model_copy(update={"max_queued": 2})) as limited:
        sizes = [result.size[0] for result in limited.map([COINS[:height] for height in range(20, 27)], in_flight=5)]
    assert sizes == list(range(20, 27))


def test_map_cancels_the_remaining_jobs_when_it_raises(client: Client, connections: Connections) -> None:
    with asleep("maskq.workers.cluster"):
        results = client.map([b"no image", *[COINS] * 5])
        with pytest.raises(JobFailed, match="image: a text, not a PNG"):
            next(results)
        assert connections.ledger.unfinished() == 0
    with pytest.raises(StopIteration):
        next(results)


# Images that can't be segmented

GIF = saved(COINS, "GIF")
NAN = np.full((4, 5), np.nan, np.float32)
TWO_PAGES = saved(COINS, "TIFF", save_all=True, append_images=[Image.fromarray(COINS)])


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (b"", "NotAnImage", "not a PNG"),
        (b"Dear Sir or Madam", "NotAnImage", "not a PNG, JPEG, TIFF, BMP, WebP or NumPy file"),
        (GIF, "NotAnImage", "not a PNG"),
        (png(COINS)[:-200], "TruncatedImage", "cut short"),
        (saved(COINS, "JPEG")[:300], "TruncatedImage", "cut short"),
        (saved(COINS, "TIFF")[:100], "TruncatedImage", "cut short"),
        (npy(COINS)[:500], "TruncatedImage", "cut short"),
        (png(np.zeros((317, 316), np.uint8)), "ImageTooLarge", "317×316 is 100,172 pixels, over the limit of 100,000"),
        (npy(np.zeros((2, 500_000), bool)), "ImageTooLarge", "1,000,128 bytes, over the limit of 1,000,000 bytes"),
        (npy(NAN), "NonFiniteImage", "20 values are NaN or infinite"),
        (npy(np.zeros((0, 5), np.uint8)), "EmptyImage", "0 pixels"),
        (npy(np.zeros((4, 5), complex)), "NotAnImage", "complex128"),
        (npy(np.zeros(5, np.uint8)), "NotAnImage", r"shape \(5,\)"),
        (TWO_PAGES, "MultiPageImage", "a stack of 2 planes.*option planes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_image_fails_with_name_and_reason_and_the_next_one_is_segmented(
    client: Client, image: bytes, kind: str, message: str
) -> None:
    with pytest.raises(JobFailed, match=message) as failed:
        client.submit(image, name="holiday.png").wait(WAIT_S)
    assert "holiday.png" in str(failed.value)
    assert (failed.value.error.type, failed.value.error.stage) == (kind, Stage.EMBED)
    assert client.submit(COINS).wait(WAIT_S).size == (64, 64)


def test_the_lower_of_a_jobs_and_the_workers_limit_applies(client: Client) -> None:
    with pytest.raises(JobFailed, match="64×64 is 4,096 pixels, over the limit of 4,095 pixels"):
        client.submit(COINS, limits=Limits(max_pixels=4095)).wait(WAIT_S)
    with pytest.raises(JobFailed, match="over the limit of 100,000 pixels"):
        client.submit(np.zeros((400, 400), np.uint8), limits=Limits(max_pixels=10**9)).wait(WAIT_S)


def test_an_unknown_model_fails_with_the_list_of_known_ones(client: Client) -> None:
    with pytest.raises(JobFailed, match="no model 'unicorns'; there are: .*nuclei") as failed:
        client.submit(COINS, model="unicorns").wait(WAIT_S)
    assert failed.value.error.type == "UnknownModel"


def test_a_pickle_is_rejected_without_being_loaded(client: Client, stack: Stack, connections: Connections) -> None:
    with Celery(broker=stack.settings.broker_url, set_as_current=False) as foreign_app:
        foreign_app.conf.update(celery_settings())
        foreign_app.send_task(TASKS[Stage.EMBED], args=["x"], queue=EMBED_QUEUES[0], serializer="pickle")
    until(lambda: quiet(connections))
    assert client.submit(COINS).wait(WAIT_S)


# Cancelled and expired jobs


def test_a_job_cancelled_in_the_queue_is_not_started(client: Client, connections: Connections) -> None:
    with asleep("maskq.workers.device.process"):
        job = client.submit(COINS)
        assert job.cancel() is State.CANCELLED
    with pytest.raises(JobCancelled, match="cancelled while queued"):
        job.wait(WAIT_S)
    until(lambda: quiet(connections))
    assert job.status().attempts == {}


def test_a_job_cancelled_between_its_stages_leaves_nothing(client: Client, connections: Connections) -> None:
    with asleep("maskq.workers.cluster"):
        job = client.submit(COINS)
        until(lambda: job.state is State.EMBEDDED)
        job.cancel()
    until(lambda: quiet(connections))
    assert job.state is State.CANCELLED
    assert connections.redis.keys(f"maskq:payload:{job.id}:*") == []


def test_an_expired_job_is_not_started(client: Client) -> None:
    with asleep("maskq.workers.device.process"):
        job = client.submit(COINS, limits=Limits(expires_s=0.05))
        expired = time.time() + 0.1
        until(lambda: time.time() > expired)
    with pytest.raises(JobExpired, match="its time was over before the embed stage began"):
        job.wait(WAIT_S)


def test_a_job_that_has_not_expired_is_done(client: Client) -> None:
    assert client.submit(COINS, limits=Limits(expires_s=600)).wait(WAIT_S)


# Messages


def test_a_second_message_for_a_finished_job_changes_nothing(
    client: Client, stack: Stack, connections: Connections
) -> None:
    job = client.submit(COINS, options=ANYTHING)
    before = job.wait(WAIT_S)
    app = Celery(broker=stack.settings.broker_url, set_as_current=False)
    app.conf.update(celery_settings())
    for stage, queue in ((Stage.EMBED, "embed.varied"), (Stage.CLUSTER, "cluster")):
        app.send_task(TASKS[stage], args=[job.id], queue=queue)
    until(lambda: quiet(connections))
    after = job.result()
    assert after == before
    assert after.job.attempts == {Stage.EMBED: 1, Stage.CLUSTER: 1}


def test_a_job_whose_message_was_lost_is_sent_again_and_done(connections: Connections) -> None:
    connections.store.put("lost", Payload.IMAGE, png(COINS))
    with asleep("maskq.workers.device.process"):
        connections.ledger.create("lost", JobSpec(), None)
        connections.redis.delete(*message_lists())
    result = Job("lost", connections).wait(WAIT_S)
    assert result.size == (64, 64)
    assert result.job.attempts == {Stage.EMBED: 1, Stage.CLUSTER: 1}


def test_concurrent_clients_each_get_their_own_results(stack: Stack) -> None:
    def size(height: int) -> tuple[int, int]:
        with Client(settings=stack.settings) as client:
            return client.submit(COINS[:height]).wait(WAIT_S).size

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(size, range(20, 36))) == [(height, 64) for height in range(20, 36)]


def test_keys_left_after_all_jobs_are_bounded_or_expire(client: Client, connections: Connections) -> None:
    """The last test of the module, so that it sees the keys that all the others left."""
    list(client.map([COINS, b"no image"], errors="return"))
    until(lambda: quiet(connections))
    keys = {key.decode() for key in connections.redis.scan_iter()}
    jobs = {key for key in keys if key.startswith(("maskq:job:", "maskq:payload:"))}
    assert jobs
    assert all(0 < connections.redis.ttl(key) <= 86_400 for key in jobs)
    assert not {key for key in jobs if key.endswith(":fields")}
    bounded = {
        "maskq:held:images",
        "maskq:held:results",
        "maskq:held:bytes",
        "maskq:reconciler",
        "maskq:bytes",
        "maskq:kept",
        "maskq:devices",
        "maskq:endings",
        "maskq:cluster-workers",
    }
    expiring = ("maskq:job:", "maskq:payload:", "maskq:ended:", "maskq:lane:", "_kombu.binding")

    def others() -> set[str]:
        now = {key.decode() for key in connections.redis.scan_iter()}
        return {key for key in now - bounded if not key.startswith(expiring)}

    until(lambda: others() == set())  # the dispatcher holds its lock for an instant about once a second
    assert connections.redis.get("maskq:bytes") == b"0"
    assert connections.redis.zcard("maskq:kept") == len({key for key in jobs if key.startswith("maskq:job:")})
    assert connections.ledger.unfinished() == 0
