"""The memory that this process and its children may use."""

import os
from pathlib import Path

_CGROUP, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: The file of a cgroup's limit, in version 2 and in version 1.
_LIMITS = "memory.max", "memory.limit_in_bytes"


def usable_memory() -> int:
    """Bytes: those of the machine, or fewer if the container or the batch system sets a limit."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *cgroup_limits(_CGROUP, _OWN_CGROUP)])


def cgroup_limits(root: Path, own: Path) -> list[int]:
    """The limits of the process's cgroup and of those around it, bytes. `own` lists the process's cgroups."""
    limits = []
    for folder in _cgroups(root, own):
        for name in _LIMITS:
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # there is no such file, or it says `max`
                continue
    return limits


def _cgroups(root: Path, own: Path) -> list[Path]:
    """The folders of the process's cgroups and of those around them; in a container, `root` is its own."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / controllers
            below = top / path.lstrip("/")
            folders += [folder for folder in (below, *below.parents) if folder.is_relative_to(top)]
    return folders
