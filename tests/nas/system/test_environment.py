"""The note of where a run was made: nothing that it cannot find out ends a run."""

import os
import sys
from pathlib import Path

import pytest

from nas.system.environment import environment


def git(folder: Path, mode: int, says: str = "") -> Path:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{says}\n")
    (folder / "git").chmod(mode)
    return folder


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert environment("a chip")["commit"] == "unknown"


@pytest.mark.parametrize(("mode", "says"), [(0o644, ""), (0o755, "exit 128"), (0o755, "echo")])
def test_git_that_does_not_work_or_knows_no_commit(tmp_path, monkeypatch, mode, says):
    monkeypatch.setenv("PATH", str(git(tmp_path / "bin", mode, says)))
    assert environment("a chip")["commit"] == "unknown"


def test_the_commit_is_what_git_says(tmp_path, monkeypatch):
    folder = git(tmp_path / "bin", 0o755, "echo abc1234")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert environment("a chip")["commit"] == "abc1234"


@pytest.mark.parametrize(
    "words",
    [
        ["--storage", "postgresql://user:SECRET@host/study"],
        ["--storage=postgresql://user:SECRET@host/study"],
        ["--storage=postgresql://host/study?password=SECRET"],
    ],
)
def test_no_password_is_noted(monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["nas", "tune", "toy", *words])
    noted = environment("a chip")["command"]
    assert "--storage" in noted and "host" in noted and "***" in noted and "SECRET" not in noted
