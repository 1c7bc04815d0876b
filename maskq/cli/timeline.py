"""Merges the trace spans of all worker processes: a Chrome trace, a picture, and how busy the device was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The name of the spans in which a device runs a batch.
ON_DEVICE = "forward"
#: Colours of the spans by name; that of the device stands out.
_COLOURS = {
    "claim": "#9ecae1",
    "decode": "#6baed6",
    "fields": "#3182bd",
    "wait": "#eeeeee",
    ON_DEVICE: "#e6550d",
    "finish": "#9e9ac8",
    "cluster": "#31a354",
    "describe": "#74c476",
    "encode": "#a1d99b",
}
_OTHER = "#d9d9d9"
#: The number of batches in a picture.
_BATCHES_DRAWN = 20


@dataclass(frozen=True)
class Timeline:
    """Events in Chrome's trace format, oldest first."""

    events: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Timeline:
        """Read the spans that the processes wrote there, without lines cut off when a process was killed."""
        events = []
        for file in sorted(folder.glob("*.jsonl")):
            for line in file.read_text().splitlines():
                try:
                    events.append(json.loads(line))
                except ValueError:
                    continue
        return cls(sorted(events, key=lambda event: event["ts"]))

    def between(self, began: float, ended: float) -> Timeline:
        """The events that lie entirely between two times, seconds of the monotonic clock."""
        first, last = began * 1e6, ended * 1e6
        return Timeline([e for e in self.events if first <= e["ts"] and e["ts"] + e["dur"] <= last])

    def busy(self) -> float:
        """The fraction of the time, from the first batch's start to the last one's end, in which a device ran one."""
        spans = [(e["ts"], e["ts"] + e["dur"]) for e in self.events if e["name"] == ON_DEVICE]
        return _covered(spans) / (max(end for _, end in spans) - spans[0][0]) if spans else 0.0

    def seconds(self) -> dict[str, float]:
        """Total seconds of all threads, by the name of the span."""
        total: dict[str, float] = {}
        for event in self.events:
            total[event["name"]] = total.get(event["name"], 0.0) + event["dur"] / 1e6
        return total

    def write(self, path: Path) -> None:
        """Write a file for chrome://tracing or ui.perfetto.dev."""
        names = {(e["pid"], e["cat"]) for e in self.events}
        metadata = [
            {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}} for pid, name in sorted(names)
        ]
        threads = {(e["pid"], e["tid"], e["args"]["thread"]) for e in self.events}
        metadata += [
            {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
            for pid, tid, name in sorted(threads)
        ]
        path.write_text(json.dumps({"traceEvents": metadata + self.events}))

    def draw(self, path: Path) -> None:
        """Draw about 20 batches from the middle as a PNG, one row per thread, the device's at the top."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import patches, pyplot

        first, seconds = self._middle()
        shown = [e for e in self.events if first * 1e6 - e["dur"] < e["ts"] < (first + seconds) * 1e6]
        rows = sorted({_row(e) for e in shown}, key=lambda row: (not row.endswith("device-owner"), row))
        figure, axes = pyplot.subplots(figsize=(12, 1 + 0.35 * len(rows)), layout="constrained")
        for event in shown:
            left, width = (event["ts"] / 1e6 - first) * 1000, event["dur"] / 1000
            colour = _COLOURS.get(event["name"], _OTHER)
            axes.barh(rows.index(_row(event)), width, left=left, color=colour, height=0.8, edgecolor="white", lw=0.3)
        axes.set(yticks=range(len(rows)), yticklabels=rows, xlabel="milliseconds", xlim=(0, 1000 * seconds))
        axes.invert_yaxis()
        names = [name for name in _COLOURS if any(e["name"] == name for e in shown)]
        handles = [patches.Patch(color=_COLOURS[name]) for name in names]
        axes.legend(handles, names, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
        figure.savefig(path, dpi=120)
        pyplot.close(figure)

    def _middle(self) -> tuple[float, float]:
        """The start of the picture and its length, seconds."""
        times = [e["ts"] / 1e6 for e in self.events if e["name"] == ON_DEVICE]
        if not times:
            return 0.0, 1.0
        seconds = min(1.0, _BATCHES_DRAWN / len(times)) * max(times[-1] - times[0], 1e-3)
        return (times[0] + times[-1] - seconds) / 2, seconds


def _row(event: dict[str, Any]) -> str:
    return f"{event['cat']} {event['args']['thread'].replace('ThreadPoolExecutor-0_', 'thread ')}"


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals, which are sorted by their start."""
    total, covered_to = 0.0, float("-inf")
    for start, end in spans:
        if end > covered_to:
            total += end - max(start, covered_to)
            covered_to = end
    return total
