"""`nas match RUN|FILE VIDEO|FOLDER`: who of a gallery the persons in a video are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nas.cli.files import say
from nas.cli.network_options import NetworkOptions, parse_options
from nas.data.frame_boxes import read_boxes
from nas.data.frames import Frames, frames_of
from nas.metrics.index import check_kind
from nas.models.extractor import load_network, network_file
from nas.models.gallery import Gallery
from nas.models.person_finder import PersonFinder
from nas.stages.match import Match, Matcher, match_boxes, match_found, save_matches
from nas.stages.use_network import check_new, gallery_of
from nas.tasks.decoding import decoding

OUT = Path("runs/out")


@dataclass(frozen=True, kw_only=True)
class Arguments(NetworkOptions):
    """What `nas match` takes."""

    frames: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER")]
    """A video, or a folder of frames as images."""
    gallery: Path
    """Who is looked for: a folder of images, a CSV file with a column path, or a file that `nas features` wrote."""
    boxes: Path | None = None
    """CSV file with a row for each person: frame,x,y,w,h and, if known, track; a run of person search needs none."""
    split: Literal["", "train", "query", "gallery"] = ""
    """Images of a gallery in a CSV file: those of this split; empty: all."""
    index: Literal["exact", "hnsw", "ivf"] = "exact"
    """How the gallery is searched: all of it, or a part of it by faiss, with the recall against the exact list."""
    out: Path | None = None
    """The CSV file; by default runs/out/match-NAME.csv."""
    overwrite: bool = False
    """Replace a file that is there."""


def main(arguments: list[str]) -> int:
    """Runs `nas match ARGUMENTS`; the exit status."""
    given = parse_options(Arguments, "match", arguments)
    out = given.out or OUT / f"match-{given.frames.stem}.csv"
    if out.suffix != ".csv":
        raise ValueError(f"--out must be a file named *.csv, not {out}")
    check_new([out], given.overwrite)
    check_kind(given.index)
    path, frames = network_file(given.network), frames_of(given.frames)
    is_search = path.suffix == ".safetensors" and load_network(path).space.task == "person_search"
    threshold = None
    if is_search:
        matcher, gallery = _find(given, path, frames)
    else:
        matcher, gallery, threshold = _match(given, frames)
    matches = list(matcher.matches())
    save_matches(out, matches, gallery, threshold)
    said = _counts(matches, threshold) | {"index": given.index, "recall": matcher.recall()}
    if not given.json:
        print(_sentence(said))
    say(said, [("match table", out)], given.json)
    return 0


def _find(given: Arguments, path: Path, frames: Frames) -> tuple[Matcher, Gallery]:
    if given.boxes:
        raise ValueError(f"{path} finds the persons itself: leave --boxes out")
    if given.height or given.width:
        raise ValueError(f"{path} takes frames of the size that its run says: leave --height and --width out")
    finder = PersonFinder.open(path, given.device)
    with decoding("images") as progress:
        gallery = gallery_of(finder, given.gallery, given.split, progress)
    return match_found(finder, frames, gallery, given.index), gallery


def _match(given: Arguments, frames: Frames) -> tuple[Matcher, Gallery, float | None]:
    extractor = given.open()
    if not given.boxes:
        raise ValueError(
            "a network for crops must be told where the persons are: give --boxes FILE with the columns frame,x,y,w,h "
            "(a run of person search finds them itself)"
        )
    boxes = read_boxes(given.boxes, frames)
    with decoding("images") as progress:
        gallery = gallery_of(extractor, given.gallery, given.split, progress)
    return match_boxes(extractor, frames, boxes, gallery, given.index), gallery, extractor.card.eer_threshold


def _counts(matches: list[Match], threshold: float | None) -> dict[str, Any]:
    same = None if threshold is None else sum(match.distance <= threshold for match in matches)
    return {
        "boxes": len(matches),
        "frames": len({match.seen.frame for match in matches}),
        "tracks": len({match.seen.track for match in matches} - {""}),
        "same": same,
        "threshold": threshold,
    }


def _sentence(said: dict[str, Any]) -> str:
    tracks = f" on {said['tracks']:,} tracks" if said["tracks"] else ""
    if said["same"] is None:
        who = "no threshold says who is the same person"
    else:
        who = f"{said['same']:,} of them are somebody of the gallery (distances up to {said['threshold']:.4f})"
    if said["recall"] is not None:
        who += f"; {said['index']}: {100 * said['recall']:.1f} % of the exact first places"
    return f"{said['boxes']:,} boxes in {said['frames']:,} frames{tracks}; {who}"
