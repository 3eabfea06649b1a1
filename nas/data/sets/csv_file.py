"""A user's own images, listed in one CSV file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.base import SPLITS, ReIDData, Split
from nas.data.checks import listing
from nas.data.images import Files
from nas.data.sets.lists import check_listed
from nas.data.sets.table_file import NONE, Rows, checked, numbered, rows_of
from nas.data.source import DataSource

COLUMNS = ("path", "identity", "camera", "split")
NEEDED = ("path", "identity", "split", "camera")
"""The columns without an empty cell, as far as they are there; the first that is empty is named."""


@dataclass(frozen=True, kw_only=True)
class ImageList(DataSource):
    """A CSV file in UTF-8 with a header and the columns `path,identity,camera,split`, in any order, others ignored.

    The header's names may be in upper case, and commas, semicolons or tabs separate the columns. Blanks around a cell
    do not count.

    path: of the image, relative to the CSV's folder; each once, however it is written and whatever links lead to it.
    identity, camera: whole numbers or any names. Names become the numbers 0, 1, ... in sorted order, the same in all
    splits. An identity below 0 is junk and a camera below 0 unknown (see Split), which no query's is. No other identity
    is both in train and in query or gallery. camera: may be left out as a column. split: train, query or gallery.

    Images with an orientation tag (EXIF), as phones write it, are turned upright. Those of the other data sets are read
    as they are stored.
    """

    file: Path
    """CSV file with a row for each image: path, identity, camera (may be missing) and split."""

    def listed(self) -> ReIDData:
        file = Path(self.file)
        rows = [(line, checked(file, line, row, NEEDED, SPLITS)) for line, row in rows_of(file, COLUMNS)]
        paths = [file.parent / row["path"] for _, row in rows]
        check_listed(str(file), [f"line {line}" for line, _ in rows], paths)
        check_apart(file, rows)
        ids = numbered([row["identity"] for _, row in rows])
        cameras = numbered([row["camera"] for _, row in rows]) if "camera" in rows[0][1] else None
        everything = Split(images=Files(tuple(paths), upright=True), ids=ids, cameras=cameras)
        splits = np.array([row["split"] for _, row in rows])
        train, query, gallery = (everything.take(splits == split) for split in SPLITS)
        return ReIDData(name=file.name, train=train, query=query, gallery=gallery)


def check_apart(file: Path, rows: Rows) -> None:
    """Raises ValueError naming the identities, with their first lines, that are in training and in the test too."""
    train, test = (
        {row["identity"]: line for line, row in reversed(rows) if (row["split"] == "train") is is_train}
        for is_train in (True, False)
    )
    if shared := [f"{one} (lines {train[one]} and {test[one]})" for one in train if one in test and one != NONE]:
        raise ValueError(
            f"{file}: an identity is either in training or in query and gallery, but both have {listing(shared)}"
        )
