"""How much memory this process may still take."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import psutil

V1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
V2 = ("sys/fs/cgroup", "memory.max", "memory.current", "")


def spare_bytes(root: Path = Path("/")) -> int:
    """The bytes that are free, or can be freed, on this machine and under every limit of this process's control group.

    Control groups (Linux, versions 1 and 2) limit containers and batch jobs. root: where `proc` and `sys` lie.
    """
    return max(0, min([psutil.virtual_memory().available, *_under_limits(root)]))


def check_memory(path: Path, claimed: Iterable[int]) -> None:
    """Raises ValueError when what is in a file, so many bytes each, does not fit into the memory that is free."""
    if (needed := sum(claimed)) > (spare := spare_bytes()):
        raise ValueError(
            f"{path} must hold arrays that fit into memory: they take {needed / 2**30:.1f} GiB, this machine has "
            f"{spare / 2**30:.1f} free"
        )


def _under_limits(root: Path) -> Iterator[int]:
    listed = root / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, *names = V1 if controllers else V2
        path = PurePosixPath(group.lstrip("/"))
        for folder in (path, *path.parents):  # every group above limits too; a container may see the last one alone
            yield from _under_limit(root / mount / folder, *names)


def _under_limit(folder: Path, limit: str, usage: str, prefix: str) -> Iterator[int]:
    """What the limit of one group leaves; nothing where there is no limit. Cached files count as free."""
    if not (folder / limit).exists() or (bound := (folder / limit).read_text().strip()) == "max":
        return
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    yield int(bound) - int((folder / usage).read_text()) + cached
