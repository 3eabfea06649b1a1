"""A user's images to look at, none of them to train on: those of a folder, or of a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.data.base import SPLITS
from nas.data.sets.csv_file import COLUMNS
from nas.data.sets.folders import images_in
from nas.data.sets.lists import check_listed
from nas.data.sets.table_file import rows_of


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """Files below a folder, and whom they show, as far as that is known."""

    folder: Path
    names: tuple[str, ...]
    """Paths from the folder on, with `/` between their parts."""
    identities: tuple[str, ...] | None = None
    """As the user writes them; empty for an image of an unknown identity. None: no image has one."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in self.names)


def own_images(subject: Path, split: str = "") -> OwnImages:
    """The images of a folder and of the folders in it, in the order of their names, or those that a CSV file lists, in
    its order: with a column `path`, and `identity`, `camera` and `split` where there are such.

    split: takes those of this split alone. Raises ValueError where there is no image, and for a file that lists other
    than images.
    """
    if subject.is_dir():
        if split:
            raise ValueError(f"{subject} is a folder, which has no splits: leave --split out, or give a CSV file")
        paths, _ = images_in(subject, "images", deep=True)
        return OwnImages(folder=subject, names=tuple(path.relative_to(subject).as_posix() for path in paths))
    if subject.suffix.lower() not in (".csv", ".tsv", ".txt"):
        what = "is a file" if subject.is_file() else "does not exist"
        raise ValueError(f"images come from a folder or a CSV file, and {subject} {what}")
    return _listed(subject, split)


def _listed(file: Path, split: str) -> OwnImages:
    rows = rows_of(file, COLUMNS, optional=COLUMNS[1:])
    if empty := next((line for line, row in rows if not row["path"]), None):
        raise ValueError(f"{file}, line {empty}: the column path is empty")
    if split:
        if split not in SPLITS or "split" not in rows[0][1]:
            raise ValueError(f"--split must be one of {', '.join(SPLITS)}, and {file} must have a column split")
        rows = [(line, row) for line, row in rows if row["split"] == split]
        if not rows:
            raise ValueError(f"{file} has no image whose split is {split}")
    names = [row["path"] for _, row in rows]
    check_listed(str(file), [f"line {line}" for line, _ in rows], [file.parent / name for name in names])
    has_identities = "identity" in rows[0][1]
    return OwnImages(
        folder=file.parent,
        names=tuple(names),
        identities=tuple(row["identity"] for _, row in rows) if has_identities else None,
    )
