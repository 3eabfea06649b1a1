"""Label files: text that lists images line by line, read strictly."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from nas.data.checks import listing


def lines_of(file: Path) -> list[tuple[str, str]]:
    """(place, text) of each line that is not blank; the place is for error messages, such as `list.txt, line 3`."""
    try:
        with file.open(encoding="utf-8-sig") as text:
            lines = [(f"{file.name}, line {number}", line.strip()) for number, line in enumerate(text, start=1)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be text in UTF-8: {error}") from error
    if not (lines := [line for line in lines if line[1]]):
        raise ValueError(f"{file} must have a line for each image, and has none")
    return lines


def parsed_lines(file: Path, pattern: str, example: str) -> list[tuple[str, re.Match]]:
    """(place, match) of each line that is not blank. Raises ValueError naming the lines that `pattern` does not fit."""
    lines = [(place, text, re.fullmatch(pattern, text, re.ASCII)) for place, text in lines_of(file)]
    if wrong := [f'{place}: "{text}"' for place, text, match in lines if match is None]:
        raise ValueError(f"{file.parent}: every line must be as in `{example}`, but not so are {listing(wrong)}")
    return [(place, match) for place, _, match in lines if match]


def check_listed(name: str, places: Sequence[str], paths: Sequence[Path]) -> None:
    """Raises ValueError naming the images that are not there, or are listed twice, and the places that list them.

    An image is the file that a path leads to, however the path is written and over whatever links.
    """
    listed = list(zip(places, paths, strict=True))
    # Path.is_file would raise OSError for a name that is too long.
    if missing := [f"{path} ({place})" for place, path in listed if not os.path.isfile(path)]:  # noqa: PTH113
        raise ValueError(f"{name}: every image that is listed must be a file; missing: {listing(missing)}")
    folders = {folder: folder.resolve() for folder in {path.parent for path in paths}}  # few, where images are many
    files = [path.resolve() if path.is_symlink() else folders[path.parent] / path.name for path in paths]
    first = dict(zip(reversed(files), reversed(listed), strict=True))
    if twice := [
        f"{path} ({first[file][0]}; {place})"
        for file, (place, path) in zip(files, listed, strict=True)
        if first[file][0] != place
    ]:
        raise ValueError(f"{name}: every image must be listed once, but these are listed again: {listing(twice)}")
