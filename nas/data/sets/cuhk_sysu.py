"""CUHK-SYSU: Xiao et al., "Joint Detection and Identification Feature Learning for Person Search", CVPR 2017."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nas.data.checks import listing
from nas.data.images import Files
from nas.data.scenes import NO_IDENTITY, SceneData, SceneSource, SceneSplit, SearchQueries
from nas.data.sets.boxes import FLAT, corners
from nas.data.sets.folders import check_there, inner
from nas.data.sets.mat_file import laid_out, read_mat, text_in

UNLISTED = "boxes of the protocol are not among their frame's boxes in Images.mat and are added"
SIZES = (50, 100, 500, 1000, 2000, 4000)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class CUHKSYSU(SceneSource):
    """CUHK-SYSU in its official layout: the folder Image/SSM, and in the folder annotation the files Images.mat,
    pool.mat, test/train_test/Train.mat and test/train_test/TestG100.mat or another size. For academic research only.

    It has 11,206 training frames with 55,272 boxes of 5,532 identities and persons without one, 6,978 test frames with
    40,871 boxes, and 2,900 queries. It tells no cameras. Identities are numbered here: by their place in
    Train.mat, then the queries' in their order.

    A frame that a query's gallery lists twice counts once; one that is the query's own stays where the list has it.
    """

    PUBLISHED: ClassVar[dict[str, int]] = {
        "train_frames": 11_206, "train_boxes": 55_272, "train_identities": 5_532, "test_frames": 6_978,
        "test_boxes": 40_871, "shared_identities": 0, "queries": 2_900, "query_identities": 2_900,
    }  # fmt: skip

    root: Path
    """Folder that contains Image and annotation, or the one that contains that as `dataset`."""
    gallery_size: Literal[50, 100, 500, 1000, 2000, 4000] | None = 100
    """Frames in which each query is looked for; None: all test frames but its own."""

    def listed(self) -> SceneData:
        root = inner(self.root, "dataset", "CUHK-SYSU", "cuhk_sysu")
        protocol = f"TestG{self.gallery_size or SIZES[0]}"  # each lists all matches of a query
        needed = ("Image/SSM", *(f"annotation/{name}" for name in ("Images.mat", "pool.mat")))
        needed += tuple(f"annotation/test/train_test/{name}.mat" for name in ("Train", protocol))
        for name in needed:
            check_there(root / name, "CUHK-SYSU", needed)
        frames = Frames.of(root / "annotation" / "Images.mat")
        pool = pool_in(root / "annotation" / "pool.mat", frames)
        num_trained = add_persons(frames, root / needed[3])
        queries = add_protocol(frames, root / needed[4], protocol, pool, num_trained)
        if self.gallery_size is None:
            queries = SearchQueries(frames=queries.frames, boxes=queries.boxes, ids=queries.ids)
        folder = root / "Image" / "SSM"
        if missing := [name for name in frames.ids if not (folder / name).is_file()]:
            raise ValueError(f"CUHK-SYSU: every frame of Images.mat must be in {folder}; missing: {listing(missing)}")
        tests = set(pool)
        return SceneData(
            name="CUHK-SYSU",
            train=frames.split(folder, [name for name in frames.ids if name not in tests]),
            test=frames.split(folder, pool),
            queries=queries,
            remarks={FLAT: tuple(frames.flat), UNLISTED: tuple(frames.unlisted)},
        )


@dataclass(frozen=True)
class Frames:
    """The frames that Images.mat lists.

    ids: of each frame by its name, its boxes as (x, y, width, height) -> identity, -1 until one is set.
    flat: boxes without width or height. unlisted: boxes that other files have and Images.mat does not.
    """

    ids: dict[str, dict[Box, int]]
    flat: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, file: Path) -> "Frames":
        frames = cls({})
        with laid_out(file, "Img", "structs of imname, nAppear and box"):
            for image in np.ravel(read_mat(file, "Img")["Img"]):
                if (name := text_in(image[0])) in frames.ids:
                    raise ValueError(f"{file}: a frame must be listed once, but {name} is listed again")
                boxes = [box_in(file, name, cell[0]) for cell in np.ravel(image[2])]
                frames.ids[name] = {box: NO_IDENTITY for box in boxes if min(box[2:]) > 0}
                frames.flat.extend(f"{name}: {list(box)}" for box in boxes if min(box[2:]) <= 0)
        return frames

    def identify(self, file: Path, name: str, box: Box, identity: int) -> None:
        """Sets the identity of a box, as `file` has it."""
        if name not in self.ids:
            raise ValueError(f"{file} has the frame {name!r}, which Images.mat does not list")
        if min(box[2:]) <= 0:
            self.flat.append(f"{name}: {list(box)}")
            return
        known = self.ids[name].get(box)
        if known is None:
            self.unlisted.append(f"{name}: {list(box)}")
        elif known not in (NO_IDENTITY, identity):
            raise ValueError(f"{file}: a box must be one person, but {list(box)} of {name} is two")
        self.ids[name][box] = identity

    def split(self, folder: Path, names: Sequence[str]) -> SceneSplit:
        """The frames of these names, whose images lie in `folder`."""
        boxes = [np.array(list(self.ids[name]), dtype=np.float64) for name in names]
        return SceneSplit(
            images=Files(tuple(folder / name for name in names)),
            boxes=tuple(map(corners, boxes)),
            ids=tuple(np.array(list(self.ids[name].values()), dtype=np.int64) for name in names),
        )


def pool_in(file: Path, frames: Frames) -> list[str]:
    """The names of the test frames, in the order of `file`."""
    pool = [text_in(cell) for cell in np.ravel(read_mat(file, "pool")["pool"])]
    if strangers := [name for name in pool if name not in frames.ids]:
        raise ValueError(f"{file}: Images.mat must list every test frame, and does not list {listing(strangers)}")
    if len(set(pool)) < len(pool):
        raise ValueError(f"{file}: every test frame must be listed once; {len(pool) - len(set(pool))} are listed again")
    return pool


def add_persons(frames: Frames, file: Path) -> int:
    """Sets the identities of the training boxes to the persons' places in Train.mat; how many persons there are."""
    persons = np.ravel(read_mat(file, "Train")["Train"])
    with laid_out(file, "Train", "cells with a struct of idname, nAppear and scene"):
        for identity, person in enumerate(persons):
            for scene in np.ravel(person[0, 0][2]):
                name = text_in(scene[0])
                frames.identify(file, name, box_in(file, name, scene[1]), identity)
    return len(persons)


def add_protocol(frames: Frames, file: Path, key: str, pool: Sequence[str], first: int) -> SearchQueries:
    """The queries with their galleries. Sets the identities of their persons' boxes to `first`, `first` + 1, ..."""
    place_of = {name: place for place, name in enumerate(pool)}
    places, boxes, galleries = [], [], []
    with laid_out(file, key, "structs of Query and Gallery"):
        for identity, (query, gallery) in enumerate(np.ravel(read_mat(file, key)[key]), start=first):
            scenes = [(text_in(scene[0]), scene[1]) for scene in (*np.ravel(query), *np.ravel(gallery))]
            if strangers := [name for name, _ in scenes if name not in place_of]:
                raise ValueError(f"{file}: pool.mat must list every frame of query {identity - first}, and does not "
                                 f"list {listing(strangers)}")  # fmt: skip
            boxed = [
                scenes[0],
                *(scene for scene in scenes[1:] if np.size(scene[1])),
            ]  # a query without one is an error
            found = [(name, box_in(file, name, box)) for name, box in boxed]
            for name, box in found:
                frames.identify(file, name, box, identity)
            places.append([place_of[name] for name, _ in scenes])
            boxes.append(found[0][1])
            galleries.append(np.array(list(dict.fromkeys(places[-1][1:])), dtype=np.int64))
    return SearchQueries(
        frames=np.array([own for own, *_ in places], dtype=np.int64),
        boxes=corners(np.array(boxes)),
        ids=first + np.arange(len(places)),
        galleries=tuple(galleries),
    )


def box_in(file: Path, name: str, cell: np.ndarray) -> Box:
    """x, y, width and height of a box of the frame `name`."""
    numbers = np.ravel(cell)
    if len(numbers) != 4 or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        raise ValueError(f"{file}: a box must be four numbers, x y w h; {name} has {numbers.tolist()}")
    x, y, width, height = numbers.tolist()
    return x, y, width, height
