"""`nas features RUN|FILE FOLDER|CSV`: the features of a user's images, as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nas.cli.files import say
from nas.cli.network_options import NetworkOptions, parse_options
from nas.models.gallery import is_gallery
from nas.stages.use_network import check_new, gallery_of
from nas.tasks.decoding import decoding

OUT = Path("runs/out")


@dataclass(frozen=True, kw_only=True)
class Arguments(NetworkOptions):
    """What `nas features` takes."""

    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|CSV")]
    """A folder of images, with the folders in it, or a CSV file with a column path."""
    split: Literal["", "train", "query", "gallery"] = ""
    """Images of a CSV file: those of this split; empty: all."""
    out: Path | None = None
    """The file; by default runs/out/features-NAME.safetensors."""
    overwrite: bool = False
    """Replace a file that is there."""


def main(arguments: list[str]) -> int:
    """Runs `nas features ARGUMENTS`; the exit status."""
    given = parse_options(Arguments, "features", arguments)
    out = given.out or OUT / f"features-{given.images.stem}.safetensors"
    if out.suffix != ".safetensors":
        raise ValueError(f"--out must be a file named *.safetensors, not {out}")
    if is_gallery(given.images):
        raise ValueError(f"{given.images} holds features already: give a folder of images or a CSV file")
    check_new([out], given.overwrite)
    extractor = given.open()
    with decoding("images") as progress:
        gallery = gallery_of(extractor, given.images, given.split, progress)
    gallery.save(out)
    number, size = gallery.features.shape
    if not given.json:
        print(f"features of {number:,} images, each of {size} numbers, of the network {gallery.network}")
    said = {"network": gallery.network, "images": number, "embedding_size": size, "distance": extractor.distance}
    say(said, [("saved features", out)], given.json)
    return 0
