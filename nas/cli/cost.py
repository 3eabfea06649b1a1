"""`nas cost STUDENT`: what a student costs before it has ever run, and which layers the cost is in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from torch import nn

from nas.cli.find_recipe import in_recipe_file, recipe_named, recipes
from nas.cli.parse import parse
from nas.errors import near_misses
from nas.models.network import FeatureNet
from nas.recipe import Recipe
from nas.report.numbers import percent
from nas.report.table import Row, Table, as_rich, terminal
from nas.run import Run, read_architecture
from nas.tasks.base import image_size
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import Cost, cost, thop_cost
from search_spaces.ranges import CountOrZero, Ranged
from students.named import STUDENTS
from students.reid import ReID, ReIDNet, ReIDSpace
from students.space import StudentSpace

FEATURE_NET, BY_THOP = "feature net", "by thop"
BACKBONE, BRANCH = "backbone.", "branch."  # what stands before the names of decisions
USAGE = f"""usage: nas cost STUDENT [--size HEIGHTxWIDTH] [--num-ids N] [--student NAME] [--thop] [--json]

Counts parameters and MACs (multiply-adds), and says which types of layers they are in. STUDENT is one of
{", ".join(STUDENTS)},
a run's folder, a recipe, or an architecture file (.json).

Example: nas cost osnet --size 256x128"""


@dataclass(frozen=True)
class Options(Ranged):
    """What the command takes beside its subject."""

    size: Annotated[str, tyro.conf.arg(help="HEIGHTxWIDTH of an image; else the recipe's, or 256x128")] = ""
    num_ids: Annotated[CountOrZero, tyro.conf.arg(help="count the classifier of as many training identities too")] = 0
    student: Annotated[str, tyro.conf.arg(help="whose architecture the file is, where several students fit")] = ""
    thop: Annotated[bool, tyro.conf.arg(help="count with the package thop as well, as a cross-check")] = False
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False


@dataclass(frozen=True)
class Subject:
    """The network to count: its space, what was decided of it (None: the published point), and its images' size."""

    space: StudentSpace
    architecture: Architecture | None = None
    size: tuple[int, int] = (256, 128)
    deployed: Callable[[nn.Module], nn.Module] = FeatureNet
    """What of the network runs on a camera."""

    @property
    def part(self) -> str:
        """What is deployed, in words."""
        return FEATURE_NET if self.deployed is FeatureNet else "deployed net"


def main(arguments: list[str]) -> int:
    """Runs `nas cost ARGUMENTS`; the exit status. Raises ValueError for a subject or a size that cannot be."""
    if not arguments or arguments[0].startswith("-"):
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    name, *rest = arguments
    options = parse(
        Options,
        rest,
        prog=f"nas cost {name}",
        description="count parameters and MACs",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    subject = subject_named(name, options.student)
    height, width = size_of(options.size) if options.size else subject.size
    counted = costs(subject, height, width, options.num_ids)
    if options.thop:
        net = subject.deployed(subject.space.with_ids(1).student(subject.architecture))
        counted[f"{subject.part} {BY_THOP}"] = thop_cost(net, height, width)
    if options.json:
        print(json.dumps(_as_json(subject, counted), indent=2))
    else:
        _say(subject, counted, terminal())
    return 0


def subject_named(name: str, student: str = "") -> Subject:
    """What `name` stands for: a student, a run's folder, an architecture file (of `student`, if given), or a recipe."""
    path = Path(name)
    if student and path.suffix != ".json":
        raise ValueError(f"--student says whose architecture a file is, and {name!r} is no file.json: leave it out")
    if name in STUDENTS:
        return Subject(STUDENTS[name])
    if path.suffix == ".json":
        return _of_file(path, student)
    if path.is_dir():
        run = Run.open(path)
        return _of_recipe(run.recipe, run.architecture())
    if not in_recipe_file(name) and name not in recipes():
        known = [*STUDENTS, *recipes()]
        raise ValueError(
            f"there is no student, run, recipe or architecture file {name!r}{near_misses(name, known)}; "
            f"the students are {', '.join(STUDENTS)}, `nas recipes` lists the recipes"
        )
    _, recipe = recipe_named(name)
    file = recipe.architecture
    return _of_recipe(recipe, read_architecture(file) if file else None)


def size_of(text: str) -> tuple[int, int]:
    """`"256x128"` -> `(256, 128)`."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match or min(map(int, match.groups())) < 16:
        raise ValueError(f"--size must be HEIGHTxWIDTH, at least 16x16 and below 10000, as 256x128; got {text!r}")
    return int(match[1]), int(match[2])


def costs(subject: Subject, height: int, width: int, num_ids: int = 0) -> dict[str, Cost]:
    """Cost of the `backbone`, of the `feature net` that is deployed (backbone, embedding, BNNeck) and, for `num_ids`
    training identities, of the network `with classifier`; of another task's network of what is deployed alone. Nothing
    is allocated."""
    with torch.device("meta"):
        net = subject.space.with_ids(num_ids or 1).student(subject.architecture)
    parts: dict[str, nn.Module] = {subject.part: subject.deployed(net)}
    if isinstance(net, ReIDNet):
        parts = {"backbone": net.backbone, **parts}
        if num_ids:
            parts["with classifier"] = net
    return {part: cost(module, height, width) for part, module in parts.items()}


def _of_recipe(recipe: Recipe, architecture: Architecture | None) -> Subject:
    space, architecture = recipe.retrained.inference(architecture)
    deployed = FeatureNet if isinstance(space, ReIDSpace) else recipe.task.deployed
    return Subject(space, architecture, image_size(recipe.task, recipe), deployed)


def _of_file(path: Path, student: str) -> Subject:
    """The architecture in `path`, whose decisions may be the backbone's alone, the whole student's, or a KSL's, whose
    branches are not deployed."""
    found = read_architecture(path)
    decisions = {
        f"{BACKBONE}{name.removeprefix(BACKBONE)}": answer
        for name, answer in found.decisions.items()
        if not name.startswith(BRANCH)
    }
    architecture = Architecture("ReID", decisions)
    if student and student not in STUDENTS:
        raise ValueError(
            f"there is no student {student!r}{near_misses(student, STUDENTS)}; the students are {', '.join(STUDENTS)}"
        )
    named = [name for name, space in STUDENTS.items() if type(space.backbone).__name__ == found.space]
    names = [student] if student else named or list(STUDENTS)
    fitting = [name for name in names if _builds(STUDENTS[name], architecture)] if len(names) > 1 else names
    if len(fitting) != 1:
        whose = " or ".join(fitting) or "no student known here"
        raise ValueError(
            f"{path} is an architecture of {whose}: say whose it is with --student NAME, one of {', '.join(STUDENTS)}"
        )
    return Subject(STUDENTS[fitting[0]], architecture)


def _builds(space: ReID, architecture: Architecture) -> bool:
    try:
        space.with_ids(1).check(architecture)
    except ValueError:
        return False
    return True


def _as_json(subject: Subject, counted: Mapping[str, Cost]) -> dict[str, Any]:
    first = next(iter(counted.values()))
    size = ("height", "width")
    parts = {
        part.replace(" ", "_"): {key: value for key, value in asdict(each).items() if key not in size}
        for part, each in counted.items()
    }
    return {
        "student": subject.space.title,
        "architecture": subject.architecture and subject.architecture.hash,
        "height": first.height,
        "width": first.width,
        "embedding_dim": getattr(subject.space, "embedding_dim", None),
        **parts,
    }


def _regions(subject: Subject) -> str:
    """How many regions of an image the count is of; empty where a network looks at none."""
    proposals = getattr(subject.space, "proposals", None)
    return f", {proposals.num_kept_at_test} regions of each" if proposals else ""


def _say(subject: Subject, counted: Mapping[str, Cost], console: Console) -> None:
    feature = counted[subject.part]
    which = f"architecture {subject.architecture.hash}" if subject.architecture else "as published"
    console.print(
        f"{subject.space.title}, {which}, images {feature.height}x{feature.width}{_regions(subject)}",
        highlight=False,
        markup=False,
    )
    rows = [Row((part, f"{each.parameters:,}", f"{each.multiply_adds:,}")) for part, each in counted.items()]
    console.print(as_rich(Table(("part", "parameters", "MACs"), tuple(rows))))
    by_thop = counted.get(f"{subject.part} {BY_THOP}")
    if by_thop:
        more = by_thop.multiply_adds / feature.multiply_adds - 1
        console.print(
            f"thop's count differs by {100 * more:+.2f} %: it adds operations for each normalisation, pooling and "
            "softmax, and misses what is no module of a type it knows. The count of record is torch's.",
            highlight=False,
        )
    console.print(as_rich(_by_type(f"layers of the {subject.part}", feature, by_thop)))


def _by_type(title: str, feature: Cost, by_thop: Cost | None) -> Table:
    """The shares of each type of layer, and how much more thop counts for it."""
    macs, weights = feature.multiply_adds_by_type, feature.parameters_by_type
    others = by_thop.multiply_adds_by_type if by_thop else {}
    rows = []
    for name in dict.fromkeys([*macs, *weights, *others]):
        cells = [name, percent(macs.get(name, 0.0)), percent(weights.get(name, 0.0))]
        if by_thop:
            more = others.get(name, 0.0) * by_thop.multiply_adds - macs.get(name, 0.0) * feature.multiply_adds
            cells.append(f"{round(more):+,}")
        rows.append(Row(tuple(cells)))
    return Table((title, "% of MACs", "% of parameters", *["thop adds"] * bool(by_thop)), tuple(rows))
