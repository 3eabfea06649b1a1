"""Results that take the place of others at their end: whatever kills the process, the old ones or the new ones stay."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from nas.system.files import read_object, write_json
from nas.system.locks import held

READY = ".ready"
"""The folder of what is whole and on its way to its place."""
LIST = ".moves.json"


def hand_over(source: Path, folder: Path, stale: Iterable[str] = (), gate: str = "") -> None:
    """Moves all that the folder `source` holds to the same places in `folder`, and removes `stale` places from there.

    gate: the file that tells readers that the rest is there; it goes first and comes last. A kill leaves the rest to
    `finish_handover(folder)`, which whoever opens the folder calls.
    """
    moves = sorted((str(path.relative_to(source)) for path in _places(source)), key=lambda name: (name == gate, name))
    removes = [gate] * (gate in moves) + [name for name in stale if name not in moves]
    write_json(source / LIST, {"moves": moves, "removes": removes})
    with held(folder / f"{READY}.lock"):
        _finish(folder)
        source.replace(folder / READY)
        _finish(folder)


def finish_handover(folder: Path) -> None:
    """Ends what a killed process had begun to move."""
    if (folder / READY).exists():
        with held(folder / f"{READY}.lock"):
            _finish(folder)


def _finish(folder: Path) -> None:
    ready = folder / READY
    if (ready / LIST).exists():
        listed = read_object(ready / LIST)
        for name in listed["removes"]:
            _remove(_inside(folder, name))
        for name in listed["moves"]:
            place = _inside(folder, name)
            if (ready / name).exists():
                if place.is_dir() or (ready / name).is_dir():
                    _remove(place)
                place.parent.mkdir(parents=True, exist_ok=True)
                (ready / name).replace(place)
    shutil.rmtree(ready, ignore_errors=True)


def _places(source: Path) -> Iterator[Path]:
    """What is moved as a whole: files and folders; of TensorBoard's folder each stage's. Hidden files stay behind."""
    for path in source.glob("[!.]*"):
        yield from path.iterdir() if path.name == "tensorboard" else [path]


def _inside(folder: Path, name: str) -> Path:
    """The place `name` in `folder`. Raises ValueError for one that is elsewhere: the list may be a stranger's."""
    place = folder / name
    if not place.name or not place.parent.resolve().is_relative_to(folder.resolve()) or place.name == "..":
        raise ValueError(f"{folder / READY / LIST} must name places in {folder}, not {name!r}: remove {folder / READY}")
    return place


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
