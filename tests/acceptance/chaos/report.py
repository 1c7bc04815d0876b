"""What a run of faults has shown, for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from maskq.producer.schema import State

from .faults import Struck
from .journal import StateHistory


@dataclass(frozen=True)
class Recovery:
    """How long one fault was felt."""

    fault: str
    at_s: float
    """Seconds since the first fault."""
    seconds: float
    """Until every job that was in hand at the fault had ended, or, where there was none, until another job had."""
    jobs: int
    """That were in hand."""


@dataclass(frozen=True)
class Report:
    """What happened to the jobs."""

    seed: int
    accepted: int
    refused: int
    """Calls of `submit` that raised; they were repeated."""
    states: dict[str, int]
    doubled: int
    """Jobs that ended more than once."""
    done_twice: int
    """Attempts beyond one, of both stages."""
    recoveries: list[Recovery]
    longest_s: float
    p95_s: float
    """Of twenty faults, nineteen were felt for no longer than this."""

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.accepted} jobs accepted ({self.refused} refusals), {self.states}, "
            f"{self.doubled} doubled, {self.done_twice} stages begun again",
            f"recovery of {len(self.recoveries)} faults: longest {self.longest_s:.1f} s, 95 % in {self.p95_s:.1f} s",
        ]
        return "\n".join(
            lines + [f"  {r.at_s:6.1f} s  {r.seconds:6.2f} s  {r.jobs} in hand  {r.fault}" for r in self.recoveries]
        )


def report(
    seed: int, stories: Mapping[str, StateHistory], accepted: Iterable[str], refused: int, struck: Iterable[Struck]
) -> Report:
    """Put together what the journal has of the accepted jobs, and what was done to them."""
    mine = {job: stories.get(job, StateHistory()) for job in accepted}
    recoveries = _recoveries(stories, sorted(struck, key=lambda fault: fault.at))
    seconds = sorted(recovery.seconds for recovery in recoveries)
    return Report(
        seed=seed,
        accepted=len(mine),
        refused=refused,
        states=dict(Counter(str(story.endings[-1]) if story.endings else "hangs" for story in mine.values())),
        doubled=sum(len(story.endings) > 1 for story in mine.values()),
        done_twice=sum(story.begun_again for story in mine.values()),
        recoveries=recoveries,
        longest_s=max(seconds, default=0.0),
        p95_s=seconds[ceil(0.95 * len(seconds)) - 1] if seconds else 0.0,
    )


def _recoveries(stories: Mapping[str, StateHistory], struck: list[Struck]) -> list[Recovery]:
    ended = sorted(story.ended_at for story in stories.values() if story.ended_at is not None)
    found = []
    for fault in struck:
        theirs = [stories[job].ended_at for job in fault.in_hand]
        if theirs:
            over = max(float("inf") if at is None else at for at in theirs)
        else:
            over = next((at for at in ended if at > fault.at), fault.at)
        found.append(Recovery(fault.kind, fault.at - struck[0].at, max(0.0, over - fault.at), len(theirs)))
    return found


def unfit(stories: Mapping[str, StateHistory]) -> list[str]:
    """Jobs that did not end as done, or not once, or whose results were not all the same."""
    return [
        f"{job}: {[str(state) for state, _ in story.states]}, {len(set(story.labels))} different label files"
        for job, story in stories.items()
        if story.endings != [State.DONE] or story.states[-1][0] is not State.DONE or len(set(story.labels)) > 1
    ]
