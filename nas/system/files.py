"""Files written whole or not at all, and JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from nas.errors import SaveError, is_disk_full
from nas.system.locks import try_lock
from nas.system.memory import spare_bytes
from nas.system.mounts import file_system_of, is_network

LEFT = re.compile(r"\.nas-[0-9a-f]{16}\.tmp|\..+\.\d+\.tmp")
"""Names of files that are being written, and of those that version 0.1 wrote."""
DEEPEST = 100
"""Levels of nested JSON that are read: readers that call themselves need not fear their own end."""
HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""What a half of a character looks like in JSON; two of them in a row are a whole one."""
JSON_TYPES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
JSON_TYPES[type(None)] = "null"
BLANKS = str.maketrans("01", " \t")
SEAL = re.compile(rb"[ \t]{64}\Z")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Lets `write` fill a new file beside `path`, then puts it in its place: a kill leaves the old file or the new.

    The new file has a name that nobody can foresee, and the old one's permissions, else those that the umask leaves.
    Where `path` is a link, the link is replaced and not what it points at. What killed processes left in the folder is
    cleared away. Raises SaveError naming the file and the reason (a full disk, a folder without permission).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path.parent)
        with _create_beside(path) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # which renames no open file
                file.close()
            temporary.replace(path)
    except OSError as error:
        raise SaveError(
            f"could not write {path}: {_reason(error, temporary)}; what was saved before is untouched, and the same "
            f"command goes on from there once {path.parent} can be written"
        ) from error
    finally:
        if temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    return path


def _create_beside(path: Path) -> BinaryIO:
    """A new file in `path`'s folder, locked as long as it is open, so that nobody takes it for left by the dead."""
    permissions = _permissions(path)
    mode = 0o666 if permissions is None else permissions
    while True:
        temporary = path.with_name(f".nas-{token_hex(8)}.tmp")
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115 - the caller closes it
        if permissions is not None:
            temporary.chmod(permissions)  # the umask may have narrowed them
        with suppress(OSError):  # no locks here: then nobody clears away
            if not try_lock(file.fileno()) or not os.fstat(file.fileno()).st_nlink:
                file.close()
                continue
        return file


def _permissions(path: Path) -> int | None:
    """Of the file that is at `path`, if one is."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        return stat.S_IMODE(mode) if stat.S_ISREG(mode) else None
    return None


def _clear_leftovers(folder: Path) -> None:
    """Removes what processes that were killed while they wrote left there: the living hold a lock, which those of other
    machines may not see; there it stays."""
    for path in folder.glob(".*.tmp"):
        if LEFT.fullmatch(path.name) and not is_network(file_system_of(folder)):
            with suppress(OSError), open(path, "rb", opener=_no_link) as file:
                if try_lock(file.fileno()):
                    path.unlink()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _reason(error: OSError, temporary: Path | None) -> str:
    if is_disk_full(error):
        return "the disk is full"
    elsewhere = error.filename and error.filename != str(temporary)
    return f"{error.strerror or error}{f' ({error.filename})' if elsewhere else ''}"


def write_bytes(path: Path, content: bytes) -> Path:
    return write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: Path, data: object) -> Path:
    """With a checksum behind it."""
    return write_bytes(path, sealed(json.dumps(data, indent=2, ensure_ascii=False).encode()) + b"\n")


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """A JSON object in each line, with a checksum behind it."""
    return write_bytes(path, b"".join(sealed(json.dumps(line, ensure_ascii=False).encode()) + b"\n" for line in lines))


def sealed(text: bytes) -> bytes:
    """JSON with a checksum behind it, in blanks and tabs: other readers see white space, and who writes the file anew
    takes it out. Readers here compare it with what stands before it."""
    bits = int.from_bytes(hashlib.sha256(text).digest()[:8])
    return text + f"{bits:064b}".translate(BLANKS).encode()


def read_json(path: Path) -> Any:
    """Raises ValueError naming the file when it is missing, not JSON, nested too deep or not what was written."""
    return parse_json(read_bytes(path), path)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError as `read_json` does, and when it holds anything else."""
    return parse_object(read_bytes(path), path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A file with a JSON object in each line. A last line without its end, as a killed process leaves it, counts as
    not written. Raises ValueError as `read_object` does, naming the line too."""
    whole, rest = whole_lines(read_bytes(path), path)
    lines = [parse_object(line, f"line {n} of {path}") for n, line in enumerate(whole, start=1) if line.strip()]
    try:
        return [*lines, parse_object(rest, path)]
    except ValueError:
        return lines


def whole_lines(content: bytes, where: object) -> tuple[list[bytes], bytes]:
    """The lines of a file's content without their ends, and what of a last one a killed process has written.

    Raises ValueError when that is a whole line with another end than was written: nothing is to be taken for begun.
    """
    *lines, rest = content.split(b"\n")
    if (seal := SEAL.search(rest, 0, max(len(rest) - 1, 0))) and sealed(rest[: seal.start()]) == rest[:-1]:
        raise ValueError(
            f"{where} is not what was written there, the end of its last line differs: bring back a copy or make it "
            "again"
        )
    return lines, rest


def parse_object(text: str | bytes, where: object) -> dict[str, Any]:
    """The JSON object in `text`, which stands at `where`. Raises ValueError as `read_object` does."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold a JSON object, and holds {JSON_TYPES[type(value)]}")
    return value


def parse_json(text: str | bytes, where: object) -> Any:
    """What `text`, which stands at `where`, says. Raises ValueError as `read_json` does."""
    whole = text.encode() if isinstance(text, str) else text
    content = whole.rstrip(b"\n")
    if (seal := SEAL.search(content)) and sealed(content[: seal.start()]) != content:
        raise ValueError(
            f"{where} is not what was written there, its checksum differs: bring back a copy or make it again; if you "
            "changed it on purpose, take the blanks at its end out, which are the checksum"
        )
    try:
        value = json.loads(text)
        if HALF_CHARACTER.search(whole):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{where} must not be nested more than {DEEPEST} levels deep") from None
    except UnicodeEncodeError:
        raise ValueError(f"{where} must hold whole characters, and holds half of a surrogate pair") from None
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


def read_bytes(path: Path) -> bytes:
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
