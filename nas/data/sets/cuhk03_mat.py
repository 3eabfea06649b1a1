"""CUHK03's images out of MATLAB's files."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import h5py
import numpy as np
from PIL import Image

from nas.data.checks import listing
from nas.data.images import NUM_THREADS
from nas.data.sets.folders import FOLDERS
from nas.data.sets.mat_file import text_in
from nas.system.matlab import read_matlab

VERSION = 1
FIELDS = ("filelist", "labels", "camId")
LARGEST_RATIO = 1032  # of bytes unpacked from one stored: deflate's
INDICES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}


class Crop(NamedTuple):
    """One image: its place in cuhk-03.mat (all numbers from 1), its identity and its camera."""

    pair: int
    person: int
    column: int
    identity: int
    camera: int


def convert(mat: Path, config: Path, boxes: Literal["labeled", "detected"], folder: Path) -> None:
    """Writes the images of cuhk-03.mat into the folders of Market-1501's layout, as the protocol in `config` says.

    PNG keeps every pixel. Raises ValueError naming the file that is not as it must be.
    """
    crops = protocol(config)
    try:
        source = h5py.File(mat, "r")
    except OSError as error:
        raise ValueError(f"{mat} must be the HDF5 file that CUHK03 comes as: {error}") from error
    with source, ThreadPoolExecutor(NUM_THREADS) as pool:
        if not isinstance(source.get(boxes, getlink=True), h5py.HardLink):
            raise ValueError(f'{mat} must have the entry "{boxes}" itself; it has {", ".join(source) or "none"}')
        pairs = [stored(mat, source, pair) for pair in np.ravel(stored(mat, source, boxes))]
        for split, name in FOLDERS.items():
            (folder / name).mkdir()
            list(pool.map(partial(write, mat, source, pairs, folder / name), crops[split]))


def stored(mat: Path, source: h5py.File, place: object) -> np.ndarray:
    """What the file has at a name or a reference; nothing where that is no place, or what is there is damaged.

    Raises ValueError for what lies in another file, or claims more than what is stored can be unpacked to: such files
    are no publisher's.
    """
    try:
        node = source[place]
        is_elsewhere = bool(node.external) or node.is_virtual
        num_stored = node.id.get_storage_size()
        if not is_elsewhere and node.nbytes <= LARGEST_RATIO * num_stored:
            return node[()]
    except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        return np.empty(0)
    if is_elsewhere:
        raise ValueError(f"{mat} must hold its data itself, and {node.name} lies in another file")
    raise ValueError(f"{mat} must hold what it claims: {node.name} claims {node.nbytes:,} bytes and has {num_stored:,}")


def write(mat: Path, source: h5py.File, pairs: list[np.ndarray], folder: Path, crop: Crop) -> None:
    """Writes the image of `crop` into `folder`. `pairs` holds for each pair of cameras the references [10, number of
    persons]; an image is [3, width, height], which is MATLAB's order read by HDF5."""
    try:
        place = pairs[crop.pair - 1][crop.column - 1, crop.person - 1]
    except IndexError:
        place = None
    pixels = stored(mat, source, place)
    if pixels.ndim != 3 or len(pixels) != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            f"{mat} has no image of pair {crop.pair}, person {crop.person}, column {crop.column}, which "
            "the protocol uses: the two files do not belong together, or one is damaged"
        )
    file = f"{crop.identity:04d}_c{crop.camera}_{crop.pair}_{crop.person:03d}_{crop.column:02d}.png"
    Image.fromarray(np.ascontiguousarray(pixels.T)).save(folder / file, compress_level=1)


def protocol(config: Path) -> dict[str, list[Crop]]:
    """The images of each split, in the order of the protocol's file."""
    content = read_matlab(config, (*FIELDS, *INDICES.values()), "the MATLAB file of the new protocol")
    if missing := [name for name in (*FIELDS, *INDICES.values()) if name not in content]:
        raise ValueError(f"{config} must have the entry {missing[0]}; it has only {', '.join(content)}")
    for name in (*FIELDS[1:], *INDICES.values()):
        if content[name].dtype.kind not in "fiu":
            raise ValueError(f"{config}: {name} must hold whole numbers, not {content[name].dtype}")
    names, ids, cameras = (content[name].ravel() for name in FIELDS)
    if len(lengths := {len(names), len(ids), len(cameras)}) > 1:
        raise ValueError(f"{config}: {', '.join(FIELDS)} must be of one length, not {sorted(lengths)}")
    crops = [crop_of(config, *row) for row in zip(names, ids, cameras, strict=True)]
    splits = {}
    for split, name in INDICES.items():
        places = content[name].ravel()
        if len(wrong := places[~np.isin(places, np.arange(1, len(crops) + 1))]):
            raise ValueError(f"{config}: {name} must be within 1 .. {len(crops)}, but has {listing(wrong)}")
        splits[split] = [crops[int(place) - 1] for place in places]
    return splits


def crop_of(config: Path, name: np.ndarray, identity: float, camera: float) -> Crop:
    """The image that filelist calls `1_001_2_06.png`: pair 1, person 1, view 2, column 6."""
    text = text_in(name)
    if not (match := re.fullmatch(r"0*([1-9]\d*)_0*([1-9]\d*)_\d_0*([1-9]\d*)\.png", text, re.ASCII)):
        raise ValueError(f'{config}: filelist must have names as 1_001_1_01.png, not "{text}"')
    if not (float(identity).is_integer() and float(camera).is_integer() and camera >= 0):
        raise ValueError(f"{config}: labels and camId must be whole numbers, not {identity} and {camera} ({text})")
    pair, person, column = map(int, match.groups())
    return Crop(pair, person, column, int(identity), int(camera))
