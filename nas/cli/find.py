"""`nas find RUN|FILE QUERY FOLDER|CSV|FEATURES`: the images that look most like one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nas.cli.files import say
from nas.cli.network_options import NetworkOptions, parse_options
from nas.metrics.index import check_kind
from nas.report.table import Row, Table, as_rich, terminal
from nas.stages.find import Ranking, check_images, find
from nas.stages.use_network import check_new, gallery_of
from nas.tasks.decoding import decoding
from search_spaces.ranges import Count

OUT = Path("runs/out")


@dataclass(frozen=True, kw_only=True)
class Arguments(NetworkOptions):
    """What `nas find` takes."""

    query: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The image to look for."""
    gallery: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|CSV|FEATURES")]
    """Where to look: a folder of images, a CSV file with a column path, or a file that `nas features` wrote."""
    top: Count = 20
    """Images that are shown, from the nearest on."""
    split: Literal["", "train", "query", "gallery"] = ""
    """Images of a CSV file: those of this split; empty: all."""
    index: Literal["exact", "hnsw", "ivf"] = "exact"
    """How the gallery is searched: all of it, or a part of it by faiss, with the recall against the exact list."""
    out: Path | None = None
    """Folder of the results; by default runs/out/find-IMAGE."""
    overwrite: bool = False
    """Replace results that are there."""


def main(arguments: list[str]) -> int:
    """Runs `nas find ARGUMENTS`; the exit status."""
    given = parse_options(Arguments, "find", arguments)
    out = given.out or OUT / f"find-{given.query.stem}"
    picture, table = out / "find.png", out / "find.csv"
    check_new([picture, table], given.overwrite)
    check_kind(given.index)
    check_images(given.query)
    extractor = given.open()
    with decoding("images") as progress:
        gallery = gallery_of(extractor, given.gallery, given.split, progress)
    ranking = find(extractor, given.query, gallery, given.top, given.index)
    ranking.save_table(table)
    ranking.save_strip(picture)
    if not given.json:
        terminal().print(as_rich(_table(ranking)))
        print("".join(f"{line}\n" for line in _remarks(ranking)), end="")
    said = {"query": str(given.query), "ranked": ranking.rows(), "thresholds": ranking.thresholds, **ranking.notes}
    say(said, [("ranked pictures", picture), ("ranked table", table)], given.json)
    return 0


def _table(ranking: Ranking) -> Table:
    columns = ["rank", "distance", "file"]
    rows = [[str(row["rank"]), f"{row['distance']:.4f}", row["file"]] for row in ranking.rows()]
    if ranking.gallery.identities is not None:
        columns.append("identity")
        rows = [[*row, each["identity"]] for row, each in zip(rows, ranking.rows(), strict=True)]
    if ranking.thresholds:
        columns.append("same at")
        rows = [[*row, ", ".join(each["same"])] for row, each in zip(rows, ranking.rows(), strict=True)]
    return Table(tuple(columns), tuple(Row(tuple(row)) for row in rows), text=("file", "identity", "same at"))


def _remarks(ranking: Ranking) -> list[str]:
    largest = ", ".join(f"{value:.4f} at {name}" for name, value in ranking.thresholds.items())
    lines = [f"The same are those up to a distance of {largest}."]
    if not ranking.thresholds:
        lines = ["no threshold says who is the same person: `nas evaluate RUN` measures them"]
    if "recall" in ranking.notes:
        notes = ranking.notes
        lines.append(
            f"{notes['index']}: {100 * notes['recall']:.1f} % of the exact list; built in {notes['build_s']:.3g} s, "
            f"searched in {1000 * notes['search_s']:.3g} ms, exactly in {1000 * notes['exact_s']:.3g} ms"
        )
    return lines
