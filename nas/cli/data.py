"""`nas data check NAME PATH`: checks a data set and shows what is in it, as tables, a picture or JSON."""

import dataclasses
import inspect
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from nas.cli.files import say
from nas.cli.parse import OPTIONS, parse
from nas.cli.sentences import explained
from nas.data.base import ReIDData
from nas.data.check.check import Checked, ImageFacts, SceneFacts, SplitFacts, Spread, check
from nas.data.check.look import image_folders
from nas.data.check.problems import Severity
from nas.data.scenes import SceneData
from nas.data.sets import SETS, class_named, data_set
from nas.errors import near_misses
from nas.report.contact_sheet import contact_sheet
from nas.report.numbers import MISSING
from nas.report.scene_sheet import scene_sheet
from nas.report.table import Row, Table, as_rich, terminal
from nas.system.files import write_bytes
from search_spaces.ranges import Ranged, Seed, field_hints

OUT = Path("runs/out/data-check")
USAGE = f"""usage: nas data check NAME [PATH] [--strict] [--json] [--sheet FILE] [fields of the data set]

Opens every image of a data set, and reports what is there and what is wrong with it. PATH is its folder or its file,
and NAME is one of
{", ".join(SETS)}.

Exit status: 0 if all is well, 1 if the data has errors, 2 if it cannot be read as that data set.
Example: nas data check market1501 data
`nas data check NAME --help` lists the data set's fields."""
NOT_ASKED = ("root", "file", "single_images", "unreadable", "label_noise")  # PATH, and what matters to training alone
COLOURS: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


@dataclasses.dataclass(frozen=True)
class Options(Ranged):
    """What the command takes beside the data set's fields."""

    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False
    sheet: Annotated[Path | None, tyro.conf.arg(help=f"contact sheet; default: {OUT}/NAME-contact-sheet.png")] = None
    sheet_seed: Annotated[Seed, tyro.conf.arg(help="seed of the identities drawn for the contact sheet")] = 0


def main(arguments: list[str]) -> int:
    """Runs `nas data ARGUMENTS`; the exit status. Raises ValueError for an unknown name or a wrong layout."""
    word, *rest = arguments or [""]
    if word not in ("check", "", "-h", "--help"):
        raise ValueError(f"there is no command 'data {word}'{near_misses(word, ['check'])}; there is `nas data check`")
    if not rest or rest[0].startswith("-"):
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    name, *rest = rest
    path = Path(rest.pop(0)) if rest and not rest[0].startswith("-") else None
    fields, options = parsed(name, rest)
    source = data_set(name, path, **fields)
    data = source.listed()
    sheet = allowed_sheet(options.sheet or OUT / f"{name}-contact-sheet.png", data, path)
    with progress_bar() as progress:
        checked = check(data, source.published(), strict=source.strict, progress=progress)
    picture = io.BytesIO()
    rng = np.random.default_rng(options.sheet_seed)
    drawn = scene_sheet(data, rng) if isinstance(data, SceneData) else contact_sheet(data, rng)
    drawn.save(picture, "png")
    write_bytes(sheet, picture.getvalue())
    files = [("contact sheet", sheet)]
    if options.json:
        say(checked.to_dict() | {"sheet": str(sheet)}, files, as_json=True)
    else:
        show(checked, terminal())
        say({}, files, as_json=False)
    return 0 if checked.ok else 1


def parsed(name: str, arguments: list[str]) -> tuple[dict[str, Any], Options]:
    """What the command line says of the data set's fields, and the options."""
    kind = class_named(name)
    hints = explained(field_hints(kind), kind)
    asked = [field for field in dataclasses.fields(kind) if field.name not in NOT_ASKED]
    fields = [(field.name, hints[field.name], dataclasses.field(default=field.default)) for field in asked]
    fields.append((OPTIONS, tyro.conf.OmitArgPrefixes[Options], dataclasses.field(default=Options())))
    given = parse(
        dataclasses.make_dataclass("Given", fields, kw_only=True),
        arguments,
        prog=f"nas data check {name} PATH",
        description=inspect.getdoc(kind),
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
    )
    return {field.name: getattr(given, field.name) for field in asked}, given.options


def allowed_sheet(sheet: Path, data: ReIDData | SceneData, path: Path | None) -> Path:
    """`sheet`, unless it would lie in the data set's folder: where images are, and what contains them below `path`."""
    if sheet.suffix != ".png":
        raise ValueError(f'the contact sheet is a PNG picture, so --sheet must end in .png; got "{sheet}"')
    folders = {folder.resolve() for folder in image_folders(data)}
    if path and path.is_dir():
        inside = [folder for folder in folders if folder.is_relative_to(path.resolve())]
        folders.add(Path(os.path.commonpath(inside)) if inside else path.resolve())
    if folders & set(sheet.resolve().parents):
        raise ValueError(
            "nothing is written into the data set's own folder, so the contact sheet cannot be "
            f'"{sheet}"; give another place with --sheet FILE'
        )
    return sheet


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """What to call with (images done, images in all): a bar on a terminal, None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("looking at images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(checked: Checked, console: Console) -> None:
    """Tables, problems and the verdict."""

    def line(text: str, colour: str = "", start: str = "") -> None:
        writable = text.encode(console.encoding, "replace").decode(console.encoding)  # file names may hold any bytes
        console.print(Text.assemble((start, colour), writable), soft_wrap=True)

    line(checked.name if checked.folder is None else f"{checked.name} in {checked.folder}")
    console.print(as_rich(split_table(checked)))
    if cameras := camera_table(checked):
        console.print(as_rich(cameras))
    for problem in checked.problems:
        line(str(problem), COLOURS[problem.severity], f"{problem.severity}: ")
    line(counts_line(checked))
    line(verdict(checked))


def counts_line(checked: Checked) -> str:
    """How many of the published counts are met."""
    if not checked.published:
        return "published counts: there are none"
    met = sum(checked.counts[name] == number for name, number in checked.published.items())
    return f"published counts: {met} of {len(checked.published)} met"


def verdict(checked: Checked) -> str:
    """How many kinds of problems there are."""
    kinds = Counter(problem.severity for problem in checked.problems)
    return ", ".join(f"{severity}s: {kinds[severity]}" for severity in COLOURS)


COUNTED: dict[str, Callable[[ImageFacts], str]] = {
    "images": lambda split: f"{split.num_images:,}",
    "unreadable images": lambda split: f"{split.num_unreadable:,}",
}
CROPS: dict[str, Callable[[SplitFacts], str]] = {
    "identities": lambda split: f"{split.num_identities:,}",
    "identities with one image": lambda split: f"{split.num_single:,}",
    "images per identity (min / median / max)": lambda split: spread(split.images_per_identity),
}
SCENES: dict[str, Callable[[SceneFacts], str]] = {
    "images without boxes": lambda split: f"{split.num_empty:,}",
    "boxes": lambda split: f"{split.num_boxes:,}",
    "boxes without identity": lambda split: f"{split.num_unknown:,}",
    "boxes per image (min / median / max)": lambda split: spread(split.boxes_per_image),
    "height of boxes, px (min / median / max)": lambda split: spread(split.box_height),
    "identities": lambda split: f"{split.num_identities:,}",
    "images per identity (min / median / max)": lambda split: spread(split.images_per_identity),
    "queries": lambda split: MISSING if split.num_queries is None else f"{split.num_queries:,}",
}
STORED: dict[str, Callable[[ImageFacts], str]] = {
    "cameras": lambda split: MISSING if split.num_cameras is None else f"{split.num_cameras:,}",
    "image sizes": lambda split: f"{split.num_sizes:,}",
    "width, px (min / median / max)": lambda split: spread(split.width),
    "height, px (min / median / max)": lambda split: spread(split.height),
    "formats": lambda split: numbers(split.formats),
    "modes": lambda split: numbers(split.modes),
}


def split_table(checked: Checked) -> Table:
    """A column for each split."""
    is_scenes = any(isinstance(split, SceneFacts) for split in checked.splits.values())
    cells: dict[str, Callable[[Any], str]] = {**COUNTED, **(SCENES if is_scenes else CROPS), **STORED}
    rows = [Row((name, *map(cell, checked.splits.values()))) for name, cell in cells.items()]
    return Table(columns=("", *checked.splits), rows=tuple(rows))


def camera_table(checked: Checked) -> Table | None:
    """How many images of each split come from each camera."""
    images = [split.images_per_camera or {} for split in checked.splits.values()]
    cameras = sorted(set().union(*images), key=int)
    rows = [
        Row(("unknown" if camera == "-1" else camera, *(f"{of_split.get(camera, 0):,}" for of_split in images)))
        for camera in cameras
    ]
    return Table(columns=("images of camera", *checked.splits), rows=tuple(rows)) if rows else None


def spread(found: Spread | None) -> str:
    return MISSING if found is None else f"{found.min:,} / {found.median:,g} / {found.max:,}"


def numbers(found: dict[str, int]) -> str:
    """The only name there is, or each with its number."""
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{name} {number:,}" for name, number in found.items()) or MISSING
