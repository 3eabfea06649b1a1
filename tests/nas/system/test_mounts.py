"""Which file system holds a path, from made-up lists of mounts, and what its locks are there."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.system import locks, mounts
from nas.system.files import write_text
from nas.system.mounts import file_system, is_network

MOUNTS = r"""/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,local_lock=all 0 0
/dev/vdb /home/scratch xfs rw 0 0
10.0.0.1@tcp:/fs /lustre lustre rw,flock 0 0
automount /auto autofs rw 0 0
server:/auto /auto nfs rw 0 0
//nas/my\040share /mnt/my\040share cifs rw 0 0
user@host:/ /mnt/ssh fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "ext4"),
        ("/homes/me", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/study", "nfs4"),
        ("/home/scratch/me", "xfs"),
        ("/lustre/x", "lustre"),
        ("/auto/x", "nfs"),
        ("/mnt/my share/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
    ],
)
def test_the_longest_and_last_mount_holds_a_path(path, kind):
    assert file_system(MOUNTS, path) == kind


def test_what_no_line_holds_is_unknown_and_not_taken_for_a_network():
    assert file_system("", "/x") == file_system("a /b ext4 rw 0 0", "/x") == "" and not is_network("")


def test_network_file_systems():
    assert all(map(is_network, ("nfs4", "lustre", "cifs", "9p", "fuse.sshfs")))
    assert not any(map(is_network, ("ext4", "overlay", "tmpfs", "fuse.fuse-overlayfs", "fuseblk")))


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Has the folder of the test lie on a file system of this type, as far as the toolkit can see."""

    def mount(kind: str) -> None:
        table = tmp_path / "mounts"
        table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n")
        monkeypatch.setattr(mounts, "MOUNTS", table)

    return mount


def no_flock(*_: object) -> None:
    raise AssertionError("flock was called")


def test_on_nfs_a_lock_is_a_file_and_flock_is_not_called(tmp_path, on, monkeypatch):
    on("nfs4")
    monkeypatch.setattr("fcntl.flock", no_flock)
    with locks.locked(tmp_path / "x"):
        assert (tmp_path / "x.lock").exists()
    assert not (tmp_path / "x.lock").exists()


COUNTS = """
import sys
from pathlib import Path
from nas.system import locks, mounts
folder = Path(sys.argv[1])
mounts.MOUNTS = folder / "mounts"
for _ in range(50):
    with locks.locked(folder / "x"):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""


@pytest.mark.medium
def test_processes_exclude_each_other_with_it(tmp_path, on):
    on("nfs")
    (tmp_path / "number").write_text("0")
    root = Path(__file__).parents[3]
    with_all = [subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path)], cwd=root) for _ in range(3)]
    assert [each.wait() for each in with_all] == [0, 0, 0] and (tmp_path / "number").read_text() == "150"


def test_who_holds_it_long_shows_signs_of_life(tmp_path, on, monkeypatch):
    on("beegfs")
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    with locks.locked(tmp_path / "x"):
        before = (tmp_path / "x.lock").stat().st_mtime_ns
        end = time.monotonic() + 5
        while (tmp_path / "x.lock").stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.02)
        assert (tmp_path / "x.lock").stat().st_mtime_ns > before


def test_nobody_removes_there_what_another_machine_may_be_writing(tmp_path, on):
    left = tmp_path / ".nas-0123456789abcdef.tmp"
    for kind, stays in (("nfs", True), ("ext4", False)):
        on(kind)
        left.write_text("half")
        write_text(tmp_path / "whole", "whole")
        assert left.exists() == stays
