"""A cache folder for what is converted from a user's files: nothing is ever written beside those files."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from nas.errors import SaveError
from nas.system.files import read_object, write_json
from nas.system.locks import locked

MANIFEST = "manifest.json"


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, or `nas-reid` in the user's cache folder (`XDG_CACHE_HOME`, else ~/.cache)."""
    return Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas-reid"


def converted(folder: Path, sources: Sequence[Path], version: int, convert: Callable[[Path], None]) -> Path:
    """`folder`, filled with folders of files by `convert`, unless it already holds what `convert` made of `sources`.

    Its manifest.json has the conversion's version, each source's path, size, time and digest, and each folder's files.
    All is done again when a source, the version or the list of files has changed. A folder is there whole or not at
    all, and of several processes one converts while the others wait. Raises SaveError when it cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not up_to_date(folder, sources, version):
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                convert(unfinished)
                files = files_in(unfinished)
                counts = {name: len(names) for name, names in files.items()}
                seen = [description(source) | {"sha256": digest(source)} for source in sources]
                manifest = {"version": version, "sources": seen, "counts": counts, "files": files}
                write_json(unfinished / MANIFEST, manifest)
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
    except OSError as error:
        raise SaveError(
            f"could not fill the cache folder {folder}: {error}; make room, or set `cache` to another folder"
        ) from error
    return folder


def up_to_date(folder: Path, sources: Sequence[Path], version: int) -> bool:
    """Whether `folder` holds, whole, what this version made of `sources`. Their digests are compared only where size
    or time tell nothing certain: a copy of a file has another time."""
    try:
        manifest = read_object(folder / MANIFEST)
        converted = {key: manifest[key] for key in ("version", "files")}
        seen = dict(zip(map(str, sources), manifest["sources"], strict=True))
        return converted == {"version": version, "files": files_in(folder)} and all(
            description(source).items() <= seen[str(source)].items() or digest(source) == seen[str(source)]["sha256"]
            for source in sources
        )
    except (AttributeError, LookupError, OSError, TypeError, ValueError):
        return False  # there is none, or it is damaged, another tool's or another version's


def description(source: Path) -> dict[str, str | int]:
    stat = source.stat()
    return {"path": str(source.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def digest(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> dict[str, list[str]]:
    """The names of the files in each of the folders in `folder`."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: sorted(file.name for file in path.iterdir()) for path in folders}
