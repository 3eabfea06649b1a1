"""Where a study is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search_spaces.ranges import Positive, Ranged

NAME = "study.journal"
STORAGE = "NAS_STORAGE"
"""The variable with the address that is taken without `--storage`: other users do not see it."""
FORMER = "study.db"
"""What `nas tune` called it in version 1, a SQLite file, which is gone on with."""


@dataclass(frozen=True, kw_only=True)
class Place(Ranged):
    """Where a study is: its results' folder, the storage that its workers share, and its name there."""

    folder: Path
    """The folder of the study's results."""
    storage: str = ""
    """A database's address, or a file; empty: `study.journal` in the folder."""
    study: str = ""
    """The study's name in the storage; empty: that of the folder."""
    grace_s: Positive = 60.0
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
