"""Where a study, or a search, keeps its trials: nothing here imports what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from nas.errors import without_secrets
from nas.system.files import blamed_on, read_object, write_json
from nas.system.locks import locked
from search_spaces.ranges import Positive, Ranged

GRACE_S = 60.0
NAME = "study.journal"
STORAGE = "NAS_STORAGE"
"""The variable with the address that is taken without `--storage`: other users do not see it."""
NOTE = "study.json"
"""Where a study's folder says what it is."""
FORMER = "study.db"
"""What `nas tune` called it in version 1, a SQLite file, which is gone on with."""
SEARCH = "search"
SEARCH_STORE = "search.store.json"
"""The file of a run's folder that says where its trials are, when that is not in `search.journal`."""


@dataclass(frozen=True, kw_only=True)
class Place(Ranged):
    """Where a study is: its results' folder, the storage that its workers share, and its name there."""

    folder: Path
    """The folder of the study's results."""
    storage: str = ""
    """A database's address, or a file; empty: `study.journal` in the folder."""
    study: str = ""
    """The study's name in the storage; empty: that of the folder."""
    grace_s: Positive = GRACE_S
    """Seconds without a sign of life after which a worker on another machine is taken for dead, and its work done
    again."""

    @property
    def address(self) -> str:
        return self.storage or str(stored_in(self.folder))

    @property
    def name(self) -> str:
        return self.study or self.folder.resolve().name


def stored_in(folder: Path) -> Path:
    """The file of the study in its folder."""
    former = folder / FORMER
    return former if former.exists() and not (folder / NAME).exists() else folder / NAME


@dataclass(frozen=True)
class Store:
    """Where the trials of a search are."""

    address: str
    study: str = SEARCH
    grace_s: float = GRACE_S
    """Seconds without a sign of life after which a worker on another machine is taken for dead."""


def store_of(folder: Path, storage: str = "", grace_s: float = GRACE_S) -> Store:
    """That of the search in a run's folder: a journal there, or a study of its own at the address `storage`, whose name
    the folder keeps.

    Raises ValueError when the search was begun with another storage.
    """
    path, journal = folder / SEARCH_STORE, folder / f"{SEARCH}.journal"
    if not storage and not path.exists():
        return Store(str(journal), grace_s=grace_s)
    if journal.exists():
        raise ValueError(
            f"{journal} has the trials of this search: leave --storage out, or give --overwrite to start it again"
        )
    with locked(folder / f".{SEARCH_STORE}.lock"):
        if not path.exists():
            name = f"{folder.resolve().name}-{uuid4().hex[:8]}"
            write_json(path, {"storage": without_secrets(storage), "study": name})
    with blamed_on(path):
        held = read_object(path)
        where, name = str(held["storage"]), str(held["study"])
    if without_secrets(storage or where) != where:
        raise ValueError(
            f"the search in {folder} keeps its trials in {where}, not in {without_secrets(storage)}: give --storage "
            f"{where}, or --overwrite to start it again"
        )
    return Store(storage or where, name, grace_s)
