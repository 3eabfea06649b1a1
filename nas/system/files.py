"""Files written whole or not at all, and JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nas.errors import SaveError
from nas.system.memory import spare_bytes

DEEPEST = 100
"""Levels of nested JSON that are read: readers that call themselves need not fear their own end."""
JSON_TYPES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
JSON_TYPES[type(None)] = "null"


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
    """Raises ValueError naming the file when it is missing, not JSON or nested too deep."""
    return parse_json(_read_bytes(path), path)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError as `read_json` does, and when it holds anything else."""
    return parse_object(_read_bytes(path), path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A file with a JSON object in each line. A last line without its end, as a killed process leaves it, counts as
    not written. Raises ValueError as `read_object` does, naming the line too."""
    *whole, rest = _read_bytes(path).split(b"\n")
    lines = [parse_object(line, f"line {n} of {path}") for n, line in enumerate(whole, start=1) if line.strip()]
    try:
        return [*lines, parse_object(rest, path)]
    except ValueError:
        return lines


def parse_object(text: str | bytes, where: object) -> dict[str, Any]:
    """The JSON object in `text`, which stands at `where`. Raises ValueError as `read_object` does."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold a JSON object, and holds {JSON_TYPES[type(value)]}")
    return value


def parse_json(text: str | bytes, where: object) -> Any:
    """What `text`, which stands at `where`, says. Raises ValueError as `read_json` does."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"{where} must not be nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    level = [value]
    for _ in range(DEEPEST):
        children = [
            each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)
        ]
        level = [item for items in children for item in items]
    if level:
        raise ValueError(f"{where} must not be nested more than {DEEPEST} levels deep")
    return value


def check_format(data: Mapping[str, Any], newest: int, what: object) -> int:
    """The format of a file of the toolkit: 1 where it says none. Raises ValueError when this version cannot read it."""
    written = data.get("format", 1)
    if type(written) is not int or written < 1:
        raise ValueError(f"{what} must have a format from 1 to {newest}, not {written!r}")
    if written > newest:
        raise ValueError(f"{what} has format {written}, this version reads {newest}: update it")
    return written


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """What goes wrong while a file's content is taken apart is the file's fault: ValueError, one line that names it."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}, {error}"
        raise ValueError(
            said if str(path) in said else f"{path} is not as this version of the toolkit writes it: {said}"
        ) from error


def not_a_file(path: Path) -> str:
    """What is in the way of reading `path` as a file; nothing where it is one, and fits into memory."""
    try:
        if not path.exists():
            return "does not exist"
        if not path.is_file():
            return "cannot be read: Is a directory" if path.is_dir() else "is no file, but a pipe, a socket or a device"
        size = path.stat().st_size
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return f"has {size:,} bytes, which do not fit into memory" if size > spare_bytes() else ""


def _read_bytes(path: Path) -> bytes:
    if why := not_a_file(path):
        raise ValueError(f"{path} {why}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error


def digest(path: Path) -> str:
    """Sixteen hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
