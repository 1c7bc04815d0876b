"""The memory that a process may use: its cgroup's limit, in folders laid out as the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskq.workers.local import memory
from maskq.workers.local.memory import cgroup_limits, usable_memory

LARGEST = 9_223_372_036_854_771_712  # what version 1 says without a limit


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("cgroups", "own", "limits"),
    [
        ({"job/step/memory.max": 4000, "job/memory.max": 3000}, "0::/job/step", [4000, 3000]),
        ({"job/memory.max": "max", "memory.max": 2000}, "0::/job", [2000]),
        ({"memory.max": 2000}, "0::/", [2000]),  # a container that sees only its own
        ({"memory.max": 2000}, "0::/../../other/path", [2000]),
        (
            {"memory/docker/1/memory.limit_in_bytes": 5000, "memory/memory.limit_in_bytes": LARGEST},
            "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1",
            [5000, LARGEST],
        ),
        ({}, "0::/", []),
    ],
)
def test_limits_of_the_own_cgroup_and_those_around_it(
    tmp_path: Path, cgroups: dict[str, object], own: str, limits: list[int]
) -> None:
    root = tree(tmp_path / "cgroup", cgroups)
    root.mkdir(exist_ok=True)
    (tmp_path / "own").write_text(own + "\n")
    assert cgroup_limits(root, tmp_path / "own") == limits


def test_the_smallest_limit_counts_and_without_any_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tree(tmp_path, {"memory.max": 12_345}))
    monkeypatch.setattr(memory, "_OWN_CGROUP", tree(tmp_path, {"own": "0::/"}) / "own")
    assert usable_memory() == 12_345
    monkeypatch.setattr(memory, "_OWN_CGROUP", tmp_path / "none")
    assert usable_memory() > 100_000_000
