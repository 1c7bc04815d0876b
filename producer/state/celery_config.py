"""Celery's configuration: one for every app that shares the broker."""

from typing import Any

from .routing import PRIORITIES


def celery_settings() -> dict[str, Any]:
    """Celery's configuration, the same for producers, workers and Flower.

    Kombu's acknowledgement emulation is off: it redelivers after a visibility timeout (the minimum over all apps),
    which long tasks exceed. The ledger decides about redelivery. At shutdown, a worker puts back the messages that it
    has prefetched and not started.
    """
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {
            "ack_emulation": False,
            # Drop a silent connection after this many seconds: messages on its queue wait for it.
            "health_check_interval": 5,
            "priority_steps": list(range(PRIORITIES)),
            # A worker alternates between two lanes with messages of one priority. Otherwise the first starves the
            # second.
            "queue_order_strategy": "round_robin",
        },
        "worker_send_task_events": True,
        "broker_connection_retry_on_startup": True,
        "task_create_missing_queues": True,
    }
