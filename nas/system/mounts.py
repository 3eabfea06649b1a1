"""What file system a path lies on, and what its locks are worth between machines."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

CREATES = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "fuse.ceph")
"""Network file systems on which one of all machines creates a file, whatever the mount makes of `flock`."""
UNKNOWN = ("cifs", "smb3", "smbfs", "9p", "afs", "drvfs", "vboxsf")
"""Network file systems of which nothing can be relied on; `fuse.*` is one, too, but for those here."""
LOCAL_FUSE = ("fuse.fuse-overlayfs",)
MOUNTS = Path("/proc/mounts")


def file_system(mounts: str, path: str) -> str:
    """The type of the file system that holds the absolute `path`; empty where no line of `mounts` does.

    mounts: as in `/proc/mounts`. Of two mounts at one place the later one hides the earlier one.
    """
    longest, found = "", ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point).rstrip("/")
        if f"{path}/".startswith(f"{point}/") and len(point) >= len(longest):
            longest, found = point, kind
    return found


def file_system_of(path: Path) -> str:
    """That of a path that may not exist yet; empty on systems without `/proc/mounts`."""
    with suppress(OSError):
        return file_system(MOUNTS.read_text(errors="surrogateescape"), str(path.resolve()))
    return ""


def is_network(kind: str) -> bool:
    """Whether several machines may see a file system of this type, so that the kernel of one knows not all locks."""
    return kind in (*CREATES, *UNKNOWN) or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)
