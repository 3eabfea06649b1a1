"""Where and with what a run was made."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas.errors import noted_command


def environment(processor: str) -> dict[str, Any]:
    """Where and with what a run was made, on a machine with this `processor`."""
    return {
        "command": noted_command(),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "system": platform.system(),
        "processor": processor,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _commit() -> str:
    """Of the toolkit's own folder; `unknown` where that is no repository, or there is no git that can be run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout
    except OSError:
        return "unknown"
    return said.strip() or "unknown"
