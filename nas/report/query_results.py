"""What each query found, as a table file: what comparisons and plots of single queries are made from."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.system.files import write_text

COLUMNS = ("query", "identity", "camera", "average_precision", "first_match_rank")


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """The queries of one evaluation: names, identities [Q], cameras [Q] or none, average precisions [Q] (nan: skipped)
    and 1-based ranks of the first match [Q] (0: skipped)."""

    names: tuple[str, ...]
    ids: np.ndarray
    cameras: np.ndarray | None
    average_precision: np.ndarray
    first_match_rank: np.ndarray

    def save(self, path: Path) -> Path:
        """Writes a CSV file in UTF-8 with the columns `COLUMNS`; a skipped query has no average precision.

        Bytes of a name that are no UTF-8, as files may have them, are written with a backslash.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        cameras = [""] * len(self.names) if self.cameras is None else self.cameras.tolist()
        precisions = ["" if np.isnan(value) else repr(value) for value in self.average_precision.tolist()]
        writer.writerows(
            zip(self.names, self.ids.tolist(), cameras, precisions, self.first_match_rank.tolist(), strict=True)
        )
        return write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Queries:
        """Raises ValueError naming the file, and the line, that is not as `save` writes it."""
        if not path.is_file():
            raise ValueError(f"the file of single queries {path} does not exist: `nas evaluate` writes it")
        with path.open(encoding="utf-8", newline="") as text:
            header, *rows = [*csv.reader(text)] or [[]]
        if tuple(header) != COLUMNS:
            raise ValueError(
                f"{path}, line 1: the columns must be {','.join(COLUMNS)}, not {','.join(header) or 'none'}"
            )
        try:
            names, ids, cameras, precisions, ranks = zip(*rows, strict=True)
            return cls(
                names=names,
                ids=np.array(ids, dtype=np.int64),
                cameras=None if "" in cameras else np.array(cameras, dtype=np.int64),
                average_precision=np.array([value or "nan" for value in precisions], dtype=np.float64),
                first_match_rank=np.array(ranks, dtype=np.int64),
            )
        except ValueError as error:
            raise ValueError(f"{path} must hold {len(COLUMNS)} columns of numbers after the names: {error}") from None
