"""The files that a study is kept in, with checksums that are compared when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from nas.errors import SaveError
from nas.system.files import parse_object, read_bytes, sealed, whole_lines
from nas.system.locks import locked

LOCK = ".flock"
CHECKSUM = ".sha256"


class StudyJournal(BaseJournalBackend):
    """Optuna's journal: a line of JSON for each operation, here with a checksum behind it.

    Lines without one, as Optuna's own backend writes them, are read as they are. A line that a kill or a full disk cut
    short counts as not written. The kernel takes the lock from a killed process at once; Optuna's is held on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = [0]
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The operations from that number on. Raises ValueError naming a line that is not what was written."""
        with self.path.open("rb") as file:
            file.seek(self._starts[log_number_from])
            lines, _ = whole_lines(file.read(), self.path)
        for number, line in enumerate(lines, start=log_number_from):
            if len(self._starts) == number + 1:
                self._starts.append(self._starts[number] + len(line) + 1)
            yield parse_object(line, f"line {number + 1} of {self.path}")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") for log in logs]
        text = b"".join(sealed(line) + b"\n" for line in lines)
        with locked(Path(f"{self.path}{LOCK}")), self.path.open("a+b", buffering=0) as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.truncate(size - len(whole_lines(read_bytes(self.path), self.path)[1]))
            if file.write(text) < len(text):
                raise SaveError(f"could not write all of a line to {self.path}: is the disk full?")
            os.fsync(file.fileno())


class DatabaseChecksum:
    """Of a SQLite file, beside it, as `sha256sum` writes it.

    It is empty while a transaction is written: SQLite itself takes back what a process was killed in.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self.path = Path(f"{database}{CHECKSUM}")

    def compare(self) -> None:
        """Raises ValueError when the database is not what was written. One without a checksum is taken as it is."""
        noted = self.path.read_bytes() if self.path.exists() and self.database.exists() else b""
        if noted and noted != self._line():
            raise ValueError(
                f"{self.database} is not what was written there, or {self.path} is not, which has its checksum: bring "
                f"back a copy of both; if another program changed the study on purpose, remove {self.path.name}"
            )

    def clear(self) -> None:
        """Comes before a transaction, on the disk as well."""
        with self.path.open("wb") as file:
            os.fsync(file.fileno())

    def write(self) -> None:
        self.path.write_bytes(self._line())

    def _line(self) -> bytes:
        return f"{hashlib.sha256(read_bytes(self.database)).hexdigest()}  {self.database.name}\n".encode()


class CheckedConnection(sqlite3.Connection):
    """A connection to a SQLite file whose transactions write the file's checksum.

    They exclude each other, also those that read: else two workers may claim the same trial, as SQLite locks no row.
    """

    threads = Lock()
    """For systems without locks of files."""

    def __init__(self, database: str, **how: Any) -> None:
        super().__init__(database, **how)
        self._checksum = DatabaseChecksum(Path(database))
        self._alone = ExitStack()
        self._changes = 0

    def keep_out_others(self) -> None:
        """Until the transaction that now begins has ended."""
        self._alone.enter_context(self.threads)
        self._alone.enter_context(locked(Path(f"{self._checksum.database}{LOCK}")))
        self._changes = self.total_changes

    def commit(self) -> None:
        changed = self.total_changes > self._changes
        if changed:
            self._checksum.clear()
        super().commit()
        if changed:
            self._checksum.write()
        self._alone.close()

    def rollback(self) -> None:
        super().rollback()
        self._alone.close()

    def close(self) -> None:
        super().close()
        self._alone.close()
