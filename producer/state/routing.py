"""Queues, lanes and priorities: where a job's messages wait. The ledger's `queues.lua` makes the messages.

A *lane* is one of the two queues of the embed stage. Images of a common shape take the fixed lane, all others the
varied lane: a GPU that searches for the fastest convolutions per shape (cudnn benchmark `on`) is best given the fixed
lane. The ledger chooses the lane at submission: a shape is common if at least half of the last 64 images had it. While
every device serves both lanes, all images take the varied lane, so that jobs begin in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..schema import Stage

if TYPE_CHECKING:
    from redis import Redis

FIXED, VARIED = "fixed", "varied"
LANES = (FIXED, VARIED)
CLUSTER_QUEUE = "cluster"
EMBED_QUEUES = tuple(f"embed.{lane}" for lane in LANES)
QUEUES = (*EMBED_QUEUES, CLUSTER_QUEUE)
TASKS = {Stage.EMBED: "tasks.embed", Stage.CLUSTER: "tasks.cluster"}
#: The number of priorities, 0 to 9.
PRIORITIES = 10


def broker_priority(priority: int) -> int:
    """A job's priority (9 first) as a priority of kombu's Redis transport (0 first)."""
    return PRIORITIES - 1 - priority


def queue_of(stage: Stage, lane: str) -> str:
    """The queue in which a job waits for a stage."""
    return f"embed.{lane}" if stage is Stage.EMBED else CLUSTER_QUEUE


def message_lists(*queues: str) -> list[str]:
    """The Redis lists that hold the messages of these queues (default: all), highest priority first in each queue."""
    steps = ["", *(f"\x06\x16{step}" for step in range(1, PRIORITIES))]
    return [queue + step for queue in queues or QUEUES for step in steps]


def queue_length(redis: Redis, queue: str) -> int:
    """The number of messages in a queue, all priorities together."""
    pipe = redis.pipeline(transaction=False)
    for name in message_lists(queue):
        pipe.llen(name)
    return sum(pipe.execute())
