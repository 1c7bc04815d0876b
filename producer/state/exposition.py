"""A broker's statistics in Prometheus' text format."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from .stats import Stats

#: The counters of a device process: they only grow. The other numbers are gauges.
_COUNTERS = frozenset({
    "batches", "images", "device_s", "memory_halvings",
    "cudnn_searches", "cudnn_search_s", "cudnn_batches_on", "cudnn_batches_off",
})  # fmt: skip


def exposition(stats: Stats) -> str:
    """The statistics as Prometheus scrapes them from the gateway, and node_exporter's textfile collector takes them."""
    registry = CollectorRegistry()
    registry.register(_Collector(stats))
    return generate_latest(registry).decode()


class _Collector:
    """One moment's statistics, as prometheus_client asks for them."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        waiting = GaugeMetricFamily("maskq_jobs_waiting", "Jobs that no worker has begun.", labels=["queue"])
        oldest = GaugeMetricFamily("maskq_oldest_waiting_seconds", "Age of the oldest of them.", labels=["queue"])
        for name, queue in stats.queues.items():
            waiting.add_metric([name], queue.waiting)
            oldest.add_metric([name], queue.oldest_s)
        yield from (waiting, oldest)
        yield GaugeMetricFamily("maskq_jobs_working", "Jobs that a worker has begun.", stats.working)
        yield GaugeMetricFamily("maskq_jobs_unfinished", "Jobs that have not ended.", stats.unfinished)
        yield GaugeMetricFamily("maskq_jobs_dead", "Dead letters.", stats.dead)
        workers = GaugeMetricFamily("maskq_workers", "Worker processes that report.", labels=["kind"])
        for kind, running in (("device", stats.devices), ("cluster", stats.cluster_workers)):
            workers.add_metric([kind], len(running))
        yield workers
        yield GaugeMetricFamily("maskq_redis_bytes", "Memory that Redis uses.", stats.redis_bytes)
        yield from self._devices()

    def _devices(self) -> Iterator[Metric]:
        """A metric for each number that device processes report, and their settings as the labels of an info metric."""
        devices = self._stats.devices
        if devices:
            info = InfoMetricFamily("maskq_device", "How a device process is set.", labels=["node"])
            for node, entries in devices.items():
                info.add_metric([node], {name: value for name, value in entries.items() if isinstance(value, str)})
            yield info
        for name in sorted({name for entries in devices.values() for name in entries if _is_number(entries, name)}):
            family = CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily
            help_ = f"Reported by a device process: {name.replace('_', ' ')}."
            metric = family(f"maskq_device_{name}", help_, labels=["node"])
            for node, entries in devices.items():
                if _is_number(entries, name):
                    metric.add_metric([node], entries[name])
            yield metric


def _is_number(entries: dict[str, object], name: str) -> bool:
    return name != "time" and isinstance(entries.get(name), int | float)
