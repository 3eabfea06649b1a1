"""Files written whole or not at all, and JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nas.errors import SaveError


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Lets `write` fill a file beside `path`, then puts it in `path`'s place: a kill leaves the old file or the new.

    Raises SaveError naming the file and the reason (a full disk, a folder without permission).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{path.name}.*.tmp"):
            if not _is_alive(other.suffixes[-2][1:]):
                other.unlink(missing_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # safetensors makes files that nobody else may read
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else str(error)
        raise SaveError(
            f"could not write {path}: {reason}; what was saved before is untouched, "
            "and the same command goes on from there"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _is_alive(process: str) -> bool:
    """Whether a process of this number is running here."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def write_bytes(path: Path, content: bytes) -> Path:
    return write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: Path, data: object) -> Path:
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises ValueError naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def digest(path: Path) -> str:
    """Sixteen hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
