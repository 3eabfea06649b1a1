"""What is free on the machine, or less where a control group says so."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.system.memory import spare_bytes

AVAILABLE = 10_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=AVAILABLE))
    return tmp_path


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def v2(root: Path, folder: str, limit: str, used: int, stat: str = "anon 1\n") -> None:
    names = {"memory.max": limit, "memory.current": str(used), "memory.stat": stat}
    write(root, **{f"sys/fs/cgroup/{folder}/{name}": text for name, text in names.items()})


def v1(root: Path, folder: str, limit: int, used: int, stat: str = "cache 1\n") -> None:
    names = {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{used}\n", "memory.stat": stat}
    write(root, **{f"sys/fs/cgroup/memory/{folder}/{name}": text for name, text in names.items()})


def test_without_control_groups_it_is_what_the_machine_has(root: Path):
    assert spare_bytes(root) == AVAILABLE


def test_limit_of_version_2_less_what_is_used_and_cannot_be_freed(root: Path):
    write(root, **{"proc/self/cgroup": "0::/job\n"})
    v2(root, "job", "5000\n", 3000, "anon 1800\ninactive_file 900\nactive_file 300\n")
    assert spare_bytes(root) == 5000 - 3000 + 900 + 300


def test_the_group_above_may_be_tighter(root: Path):
    write(root, **{"proc/self/cgroup": "0::/slice/job\n"})
    v2(root, "slice/job", "max\n", 100)
    v2(root, "slice", "700\n", 300)
    assert spare_bytes(root) == 400


def test_container_that_sees_its_own_group_as_the_top(root: Path):
    write(root, **{"proc/self/cgroup": "4:cpu,memory:/docker/0123\n1:name=systemd:/\n"})
    v1(root, "", 2000, 1500, "inactive_file 7\ntotal_inactive_file 50\ntotal_active_file 0\n")
    assert spare_bytes(root) == 550


def test_limit_that_is_none_counts_for_nothing(root: Path):
    write(root, **{"proc/self/cgroup": "4:memory:/job\n3:cpuset:/other\n0::/\n"})
    v1(root, "job", 9223372036854771712, 1500)
    assert spare_bytes(root) == AVAILABLE


def test_more_used_than_allowed_is_nothing_left(root: Path):
    write(root, **{"proc/self/cgroup": "0::/job\n"})
    v2(root, "job", "100", 300)
    assert spare_bytes(root) == 0
