"""Redis is away, restarts, is full or may not be written to; workers die or are replaced: with the default settings.

Workers and clients wait, reconnect and go on; nothing is lost, and no job is given up.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from maskq import Client, Job, State
from maskq.producer.errors import BrokerUnavailable, StoreFull
from tests.acceptance.pictures import ten_pieces
from tests.conftest import until

from .journal import StateHistory, read
from .load import Load, loaded, without_faults
from .report import unfit
from .units import Unit
from .world import World, now, world

AWAY_S = 60.0 if os.environ.get("MASKQ_CHAOS") == "long" else 15.0
#: How long Redis refuses to write, seconds.
REFUSED_S = 6.0
WAIT_S = 180.0
#: Seconds after its death by which what a worker had in hand must have been begun again.
BEGUN_AGAIN_S = 15.0

#: So many images, in so many seconds, while the block runs; at its end all is as it should be.
UnderLoad: TypeAlias = Callable[..., AbstractContextManager[Load]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [path for path, _ in ten_pieces(tmp_path_factory.mktemp("images"))]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def client(here: World) -> Iterator[Client]:
    """One that reaches Redis as the workers do."""
    with Client(settings=here.through_proxy) as made:
        yield made


@pytest.fixture(scope="module")
def under_load(here: World, client: Client, images: list[Path]) -> UnderLoad:
    """Every job is done, once, as it is without faults, and every worker is there again."""
    reference = without_faults(client, images, WAIT_S)

    @contextmanager
    def check(count: int = 40, over_s: float = 8.0) -> Iterator[Load]:
        load = Load(client, images)
        with loaded(load, count, over_s):
            until(lambda: load.accepted)
            yield load
        assert load.differing(reference, time.monotonic() + WAIT_S) == []
        assert len(load.accepted) == count
        until(here.all_listen, 90)
        assert unfit(read(here.journal_folder)) == []

    return check


def pass_time(seconds: float) -> None:
    """Let an outage last."""
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() > over, seconds + 5)


def test_what_a_dead_worker_had_in_hand_is_begun_again_within_15_seconds(here: World, under_load: UnderLoad) -> None:
    with under_load(count=60, over_s=1):
        until(lambda: len(embedding(here)) > 4)  # so each of the two has some
        victim = here.living("device")[0]
        victim.suspend()
        in_hand, died_at = embedding(here), now()
        victim.kill()
    stories = read(here.journal_folder)
    again = {job: at - died_at for job in in_hand if (at := begun_after(stories[job], died_at))}
    print(f"seconds until begun again: {sorted(round(seconds, 1) for seconds in again.values())}")
    assert again, "it had nothing in hand"
    assert max(again.values()) < BEGUN_AGAIN_S


def embedding(world: World) -> list[str]:
    """The jobs that device processes have in hand."""
    return [job for job in world.in_hand() if Job(job, world.to).state is State.EMBEDDING]


def begun_after(story: StateHistory, time: float) -> float | None:
    """When the first stage was begun once more."""
    return next((at for state, at in story.states if state is State.EMBEDDING and at > time), None)


@pytest.mark.parametrize("how", ["stalled", "refusing"])
def test_redis_may_be_out_of_reach(here: World, client: Client, under_load: UnderLoad, how: str) -> None:
    with under_load() as load, ThreadPoolExecutor(1) as threads:
        with getattr(here.proxy, how)():
            waiting = threads.submit(load.accepted[0][0].wait, WAIT_S)
            pass_time(AWAY_S)
        began = time.monotonic()
        assert waiting.result().job.state is State.DONE
        assert client.submit(load.images[0]).wait(WAIT_S)
        print(f"{how} for {AWAY_S:g} s; a new job was done {time.monotonic() - began:.1f} s later")


def test_redis_may_restart_under_load(here: World, under_load: UnderLoad) -> None:
    with under_load() as load:
        for count in (5, 15, 25):
            until(partial(has_accepted, load, count), WAIT_S)
            here.living("redis")[0].kill()
            until(here.answers)


def has_accepted(load: Load, count: int) -> bool:
    return len(load.accepted) >= count


def test_redis_may_be_nearly_full_and_the_jobs_that_were_taken_are_done(
    here: World, client: Client, under_load: UnderLoad
) -> None:
    here.redis.set("ballast", bytes(64 << 20))
    try:
        with under_load(count=300, over_s=1) as load:
            refusal = until(partial(refused_when_nearly_full, here, load), WAIT_S)
            assert isinstance(refusal, StoreFull) and "the last tenth is for the workers" in str(refusal)
            for job, _ in list(load.accepted):
                assert job.wait(WAIT_S)
            here.redis.config_set("maxmemory", 0)
    finally:
        here.redis.config_set("maxmemory", 0)
        here.redis.delete("ballast")


def refused_when_nearly_full(world: World, load: Load) -> Exception | None:
    """The first refusal; until there is one, Redis is kept 95 % full: more than producers may fill, not workers."""
    world.redis.config_set("maxmemory", round(world.redis.info("memory")["used_memory"] / 0.95))
    return load.refused[0] if load.refused else None


def test_redis_may_be_entirely_full_for_a_while(here: World, under_load: UnderLoad) -> None:
    with under_load() as load:
        here.redis.config_set("maxmemory", 1)
        pass_time(REFUSED_S)
        here.redis.config_set("maxmemory", 0)
        print(f"refusals: {Counter(type(refusal).__name__ for refusal in load.refused)}")
        assert all(isinstance(refusal, StoreFull) for refusal in load.refused)


def test_redis_may_be_a_replica_for_a_while(here: World, under_load: UnderLoad) -> None:
    with under_load() as load:
        here.redis.replicaof("127.0.0.1", "1")
        pass_time(REFUSED_S)
        here.redis.replicaof("NO", "ONE")
        print(f"refusals: {Counter(type(refusal).__name__ for refusal in load.refused)}")
        assert load.refused and all(isinstance(refusal, BrokerUnavailable) for refusal in load.refused)


def test_all_workers_may_be_replaced_one_after_the_other_under_load(here: World, under_load: UnderLoad) -> None:
    with under_load(count=80, over_s=20):
        for name in here.supervisors:
            replace(here, here.init.units[name])


def replace(world: World, unit: Unit) -> None:
    """SIGTERM, and another in its place."""
    before = unit.starts
    unit.popen.terminate()
    until(lambda: unit.starts > before, world.settings.grace_s + 30)
    until(world.all_listen, 120)
