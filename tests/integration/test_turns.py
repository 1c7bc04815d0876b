"""Whose job is next: clients take turns by work, and large jobs leave room for small ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from maskq.producer.errors import QueueFull
from maskq.producer.schema import Failure, JobSpec, Options, Stage, State
from maskq.producer.state.keys import CLUSTER_WORKERS, DEVICES
from maskq.producer.state.ledger import Claim, Granted, Ledger
from maskq.producer.state.routing import CLUSTER_QUEUE, EMBED_QUEUES, message_lists
from tests.conftest import text

#: One unit of work is that of the smallest job: 256×256 pixels. A job of 8 MP is large.
SMALL, SIXTEEN_UNITS, LARGE = "256x256", "1024x1024", "4000x4000"


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, window=1)


def create(ledger: Ledger, job_id: str, shape: str = SMALL, **options: bool) -> str:
    """Enter a job of the client that its id begins with."""
    return ledger.create(job_id, JobSpec(client=job_id[0], options=Options(**options)), shape)


def messages(redis: Redis, *queues: str) -> list[str]:
    """The jobs that have messages in these queues (default: those of the first stage), as workers take them."""
    found = [
        message for name in message_lists(*(queues or EMBED_QUEUES)) for message in reversed(redis.lrange(name, 0, -1))
    ]
    return [json.loads(json.loads(message)["body"])[0][0] for message in found]


def take(redis: Redis, ledger: Ledger) -> str:
    """Claim the first job that has a message."""
    (name, *_) = (name for name in message_lists(*EMBED_QUEUES) if redis.llen(name))
    (job_id,), _, _ = json.loads(json.loads(text(redis.rpop(name)))["body"])
    assert isinstance(ledger.claim(Claim(job_id, Stage.EMBED, "one")), Granted)
    return str(job_id)


def served(redis: Redis, ledger: Ledger) -> Iterator[str]:
    """Take and finish jobs, one after the other."""
    while messages(redis):
        job_id = take(redis, ledger)
        end(ledger, job_id)
        yield job_id


def end(ledger: Ledger, job_id: str) -> None:
    ledger.finish(Claim(job_id, Stage.EMBED, "one"))


def devices(redis: Redis, *threads: int, lanes: str = "fixed varied") -> None:
    """Enter device processes that take so many jobs at once."""
    for number, count in enumerate(threads):
        entry = {"threads": count, "lanes": lanes, "time": int(time.time())}
        redis.hset(DEVICES, str(number), json.dumps(entry))


# Turns


def test_clients_take_turns_by_work_and_not_by_jobs(redis: Redis, ledger: Ledger) -> None:
    for n in range(3):
        create(ledger, f"a{n}", SIXTEEN_UNITS)
    for n in range(40):
        create(ledger, f"b{n}")
    order = "".join(job_id[0] for job_id in served(redis, ledger))
    assert order == "a" + 15 * "b" + "a" + 16 * "b" + "a" + 9 * "b"


def test_jobs_of_one_client_and_priority_begin_in_order(redis: Redis) -> None:
    """Of 60 equal images, the 32nd once began first: from then on their shape was common and had a queue of its own."""
    ledger = Ledger(redis)
    for n in range(60):
        create(ledger, f"a{n}")
    assert list(served(redis, ledger)) == [f"a{n}" for n in range(60)]


def test_views_are_work(redis: Redis, ledger: Ledger) -> None:
    for n in range(3):
        create(ledger, f"a{n}", tta=True)
    for n in range(20):
        create(ledger, f"b{n}")
    assert "".join(job_id[0] for job_id in served(redis, ledger)) == "a" + 7 * "b" + "a" + 8 * "b" + "a" + 5 * "b"


def test_a_newcomer_has_no_credit_for_the_time_before(redis: Redis, ledger: Ledger) -> None:
    for n in range(100):
        create(ledger, f"a{n}")
    order = served(redis, ledger)
    assert [next(order)[0] for _ in range(50)] == 50 * ["a"]
    for n in range(5):
        create(ledger, f"b{n}")
    assert "".join(next(order)[0] for _ in range(12)) in ("abababababaa", "aabababababa")


def test_a_large_job_waits_for_as_much_work_of_others_as_it_has(redis: Redis, ledger: Ledger) -> None:
    """Clients that come with one job each, and never stop to come, don't hold it up for ever."""
    create(ledger, "a0")
    create(ledger, "a1", SIXTEEN_UNITS)
    create(ledger, "b")
    order = served(redis, ledger)
    before = []
    for n in range(100):
        ledger.create(f"new{n}", JobSpec(client=f"new{n}"), SMALL)
        before.append(next(order))
        if before[-1] == "a1":
            break
    assert before[-1] == "a1" and len(before) < 3 * 16


JOBS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 3, 16])), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs=JOBS)
def test_between_clients_that_wait_the_work_done_differs_by_their_largest_jobs(
    redis: Redis, jobs: list[tuple[str, int]]
) -> None:
    redis.flushall()
    ledger = Ledger(redis, window=1)
    create(ledger, "first")
    work: dict[str, int] = {}
    queued: dict[str, list[str]] = {client: [] for client in "abc"}
    for n, (client, units) in enumerate(jobs):
        job_id = create(ledger, f"{client}{n}", f"{256 * units}x256")
        work[job_id] = units
        queued[client].append(job_id)
    order = list(served(redis, ledger))[1:]
    assert {client: [job for job in order if job[0] == client] for client in "abc"} == queued
    sums = {c: [0, *accumulate(work[job] if job[0] == c else 0 for job in order)] for c in "abc"}
    last = {c: max((n for n, job in enumerate(order) if job[0] == c), default=0) for c in "abc"}
    for one, other in ("ab", "bc", "ac"):
        both = range(min(last[one], last[other]) + 1)  # until one of them has no more jobs
        assert all(abs(sums[one][n] - sums[other][n]) <= 2 * 16 for n in both)
    assert not redis.keys("maskq:turns:embed*") and not redis.keys("maskq:line*:embed*")


# Large jobs


def test_large_jobs_leave_room_for_a_small_one_in_every_queue(redis: Redis) -> None:
    ledger = Ledger(redis)
    devices(redis, 4)
    for n in range(6):
        create(ledger, f"a{n}", LARGE, tta=True)
    assert [take(redis, ledger) for _ in messages(redis)] == ["a0", "a1", "a2"]
    create(ledger, "b")
    assert [take(redis, ledger) for _ in messages(redis)] == ["b"]
    redis.hset(CLUSTER_WORKERS, "cluster", json.dumps({"processes": 3, "time": int(time.time())}))
    for n in range(3):
        end(ledger, f"a{n}")
    end(ledger, "b")
    assert messages(redis) == ["a3", "a4", "a5"]
    assert messages(redis, CLUSTER_QUEUE) == ["a0", "a1", "b"]  # a2 waits for a place


def test_without_workers_one_large_job_has_a_message(redis: Redis) -> None:
    ledger = Ledger(redis)
    devices(redis, 4, lanes="fixed")
    redis.hset(DEVICES, "killed", json.dumps({"threads": 9, "lanes": "varied", "time": int(time.time()) - 60}))
    for n in range(3):
        create(ledger, f"a{n}", LARGE)
    assert messages(redis) == ["a0"]


@pytest.mark.parametrize("how", ["finished", "failed", "released", "returned", "cancelled"])
def test_the_next_large_job_goes_when_one_has_left_however(redis: Redis, how: str) -> None:
    ledger = Ledger(redis, max_attempts=1)
    for n in range(2):
        create(ledger, f"a{n}", LARGE)
    held = Claim(take(redis, ledger), Stage.EMBED, "one")
    assert messages(redis) == []
    match how:
        case "failed":
            ledger.fail(held, Failure(type="NotAnImage", message=""))
        case "finished":
            ledger.finish(held)
        case "cancelled":
            ledger.cancel(held.job_id)
        case "released":
            ledger.release(held, "MemoryError")
            assert ledger.state(held.job_id) is State.DEAD
        case "returned":
            ledger.return_to_queue(held, 1000.0)
    assert messages(redis) == ["a1"]


def test_large_jobs_that_were_cancelled_in_line_hold_up_no_small_one_of_their_client(redis: Redis) -> None:
    ledger = Ledger(redis)
    for n in range(5):
        create(ledger, f"a{n}", LARGE)
    create(ledger, "a5")
    take(redis, ledger)
    for n in range(1, 5):
        ledger.cancel(f"a{n}")
    list(ledger.resend_lost(1000))  # the reconciler's round
    assert messages(redis) == ["a5"]


def test_a_large_job_whose_record_is_gone_takes_no_place(redis: Redis) -> None:
    ledger = Ledger(redis)
    for n in range(2):
        create(ledger, f"a{n}", LARGE)
    redis.delete("maskq:job:a0")
    list(ledger.resend_lost(1000))
    assert messages(redis)[-1] == "a1"


def test_many_clients_whose_large_jobs_are_due_hold_up_no_small_one(redis: Redis) -> None:
    ledger = Ledger(redis, window=1)
    create(ledger, "a0", LARGE)
    take(redis, ledger)
    for n in range(50):
        ledger.create(f"large{n}", JobSpec(client=f"large{n}"), LARGE)
    for n in range(1000):
        create(ledger, f"b{n}")
    assert sum(1 for _ in served(redis, ledger)) == 1000
    assert len(redis.smembers("maskq:large:embed.varied")) == 1


def test_a_job_that_turns_out_to_be_large_takes_a_place_or_waits_for_one(redis: Redis) -> None:
    """Of formats whose header the producer does not read, the bytes tell little."""
    ledger = Ledger(redis)
    devices(redis, 3)
    for n in range(4):
        ledger.create(f"a{n}", JobSpec(client="a"), None, b"47 kB")
    held = [Claim(take(redis, ledger), Stage.EMBED, "one") for _ in range(4)]
    assert [ledger.weigh(claim, 9_000_000) for claim in held] == [True, True, False, False]
    assert redis.hgetall("maskq:clients") == {b"a": b"4", b"a:work": b"36000000"}
    assert (ledger.state("a2"), ledger.status("a2").attempts) == (State.QUEUED, {Stage.EMBED: 0})
    assert not ledger.weigh(held[2], 9_000_000) and messages(redis) == []
    end(ledger, "a0")
    assert messages(redis) == ["a2"]
    for job_id in ("a0", "a1", "a2", "a3"):
        ledger.cancel(job_id)
    assert not redis.exists("maskq:clients", "maskq:large:embed.varied")


# The window


def test_the_window_counts_work(redis: Redis) -> None:
    ledger = Ledger(redis, window=4)
    for n in range(3):
        create(ledger, f"a{n}", "1500x1500")
    assert messages(redis) == ["a0"]  # two have 4.5 MP
    create(ledger, "b")
    assert messages(redis) == ["a0", "b"]
    assert take(redis, ledger) == "a0"
    assert messages(redis) == ["b", "a1"]


# Bounds


def test_a_client_may_queue_so_much_work(redis: Redis) -> None:
    ledger = Ledger(redis, max_client_work=20_000_000)
    create(ledger, "a0", "5000x5000")  # the first may be of any size
    with pytest.raises(QueueFull, match="this client have 25,000,000 of 20,000,000 pixels.*cancel some"):
        create(ledger, "a1")
    create(ledger, "b0", "3000x3000")
    with pytest.raises(QueueFull, match="9,000,000 of"):
        create(ledger, "b1", "1500x1500", tta=True)
    create(ledger, "b1", "1500x1500")
    ledger.cancel("a0")
    create(ledger, "a1")
    assert redis.hgetall("maskq:clients") == {b"a": b"1", b"a:work": b"65536", b"b": b"2", b"b:work": b"11250000"}
