"""Tables of networks that are trained already: a strategy's trial is a look into one of them.

All of them give the accuracy on the test set at the end of training, the mean of several runs. None gives the time it
took, so that the clock of a simulated search counts trials.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas.data.batches import Batch
from nas.models.network import FeatureNet, import_spaces
from nas.report.architecture_table import ALL, FILE, read_table, scores
from nas.strategies.base import PruneCallback, Score
from nas.strategies.proxies import NUM_BATCHES, ProxyName, estimate
from nas.system.config import decode
from nas.system.files import blamed_on, read_json
from search_spaces import nas_bench_201, nas_bench_macro
from search_spaces.architecture import Architecture, V, Value
from search_spaces.cost.counting import cost
from search_spaces.nas_bench_201 import EDGES, TABLE_NAMES, NASBench201
from search_spaces.nas_bench_macro import NASBenchMacro
from search_spaces.pick import Fixed, Pick
from search_spaces.space import SearchSpace
from students.reid import ReID, ReIDSpace
from students.space import StudentSpace

CELLS = "nats_bench_topology.csv"
MACRO = "nas-bench-macro_cifar10.json"
ROW = "row"
LEAST_ROWS = 5
"""Architectures without which a search means nothing."""
PUBLISHED = {"random": 93.83, "reinforce": 93.94, "evolution": 94.23}
"""On the test set of CIFAR-10, by strategies that saw another score: the validation accuracy of short trainings."""
NUM_IMAGES, NUM_CLASSES = 16, 10
"""Images of a batch that a proxy looks at, and of the network before it."""


@dataclass(frozen=True)
class Table:
    """Accuracies (%) and MACs of every network of a space, by the table's own keys."""

    name: str
    space: SearchSpace
    """Asks what the table's space asks and builds nothing: hundreds of times faster."""
    key: Callable[[Architecture], str]
    accuracies: Mapping[str, float]
    multiply_adds: Mapping[str, float]
    published: Mapping[str, float]
    """Accuracies (%) that the benchmark's authors report of strategies by our names for them."""
    untrained: Callable[[Architecture], nn.Module] | None = None
    """Builds the network with ten classes that proxies look at, where it is known: of the public tables one with few
    channels and layers."""
    image_size: tuple[int, int] = (32, 32)
    """Height and width of that network's images, in pixels."""
    lacks: str = ""
    """Why only random search can search it, as it lacks architectures of its space; empty: it lacks none."""

    @property
    def optimum(self) -> float:
        return max(self.accuracies.values())

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        key = self.key(architecture)
        return Score(self.accuracies[key], self.multiply_adds[key], 0.0)

    def estimate(self, architecture: Architecture, proxy: ProxyName) -> Score:
        """What `proxy` says of the untrained network, always of the same noise, with classes by chance. Raises
        ValueError where that network is not known."""
        if self.untrained is None:
            raise ValueError(f"the networks of {self.name} are not built here, and a proxy looks at networks")
        since = monotonic()
        torch.manual_seed(0)
        shape = (NUM_IMAGES, 3, *self.image_size)
        batches = [Batch(torch.randn(shape), torch.randint(NUM_CLASSES, (NUM_IMAGES,))) for _ in range(2)]
        net = self.untrained(architecture)

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(net(batch.images).logits, batch.labels)

        value = estimate(proxy, net, FeatureNet(net), batches[: NUM_BATCHES[proxy]], loss)
        return Score(value, self.multiply_adds[self.key(architecture)], monotonic() - since)


class Asked(Fixed):
    """Answers with the published design, and keeps each question's options."""

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, Sequence[Value]] = {}

    def choose(self, name: str, options: Sequence[V]) -> V:
        self.options[name] = options
        return super().choose(name, options)


@dataclass(frozen=True)
class Rows(SearchSpace):
    """One question: which row of a table that has not all of its space."""

    rows: tuple[str, ...]
    """Their keys."""

    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        pick.value(ROW, self.rows)
        return nn.Identity()


class Branches(NamedTuple):
    """A question, and what is asked behind each of its answers; None: nothing."""

    name: str
    behind: Mapping[Value, Branches | None]

    @classmethod
    def of(cls, rows: Sequence[Sequence[tuple[str, Value]]], place: int = 0) -> Branches | None:
        """Of rows of questions with their answers, from the question at `place` on. Raises ValueError when the same
        answers lead to different questions."""
        names = {row[place][0] if place < len(row) else "" for row in rows}
        if names == {""}:
            return None
        if len(names) > 1:
            raise ValueError(f"the same answers lead to different questions: {', '.join(sorted(names))}")
        answers = dict.fromkeys(row[place][1] for row in rows)
        behind = {answer: cls.of([row for row in rows if row[place][1] == answer], place + 1) for answer in answers}
        return cls(names.pop(), behind)


@dataclass(frozen=True)
class Tree(SearchSpace):
    """The questions of a table that has all of its space, also those that only some answers lead to."""

    first: Branches | None

    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        asked = self.first
        while asked:
            asked = asked.behind[pick.value(asked.name, list(asked.behind))]
        return nn.Identity()


@dataclass(frozen=True)
class Questions(SearchSpace):
    """The questions of another space, whose answers must not lead to other questions."""

    options: Mapping[str, Sequence[Value]]
    """Answers of each question, by its name."""

    @classmethod
    def of(cls, space: SearchSpace) -> Questions:
        asked = Asked()
        with torch.device("meta"):
            space.build(asked)
        return cls(asked.options)

    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        for name, options in self.options.items():
            pick.value(name, options)
        return nn.Identity()


@cache
def read_tables(folder: Path) -> list[Table]:
    """The tables in `folder`: the public ones, unless it has only one of `nas tabulate`, and that one, which is a table
    for each arm. Raises ValueError naming what is missing or does not fit its space."""
    own = folder / FILE
    if own.is_file() and not (folder / CELLS).exists() and not (folder / MACRO).exists():
        return _tabulated(own)
    macro = _macro(folder / MACRO)
    return [*_cells(folder / CELLS), macro, *(_tabulated(own) if own.is_file() else [])]


def _cells(path: Path) -> list[Table]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: --tables is the folder that has {CELLS} and {MACRO}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row.get("architecture", ""): row for row in csv.DictReader(file)}
    _check_keys(path, rows, nas_bench_201.from_table_key, 5**6)
    cifar10, cifar100 = (_numbers(path, rows, column, 100) for column in ("cifar10_test", "cifar100_test"))
    of_space, thin = (Questions.of(NASBench201()), nas_bench_201.table_key), _thin(NASBench201(channels=4, cells=1))
    multiply_adds = _cell_multiply_adds(rows)
    return [
        Table("NAS-Bench-201, CIFAR-10", *of_space, cifar10, multiply_adds, PUBLISHED, thin),
        Table("NAS-Bench-201, CIFAR-100", *of_space, cifar100, multiply_adds, {}, thin),
    ]


def _macro(path: Path) -> Table:
    rows = read_json(path)
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise ValueError(f"{path} must map each architecture to its numbers")
    _check_keys(path, rows, nas_bench_macro.from_table_key, 3**8)
    return Table(
        "NAS-Bench-Macro, CIFAR-10",
        Questions.of(NASBenchMacro()),
        nas_bench_macro.table_key,
        _numbers(path, rows, "mean_acc", 100),
        _numbers(path, rows, "flops", math.inf),
        {},
        _thin(NASBenchMacro(channels=4, last_channels=32)),
    )


def _thin(backbone: SearchSpace) -> Callable[[Architecture], nn.Module]:
    """Builds the networks of a public table with that backbone."""

    def build(architecture: Architecture) -> nn.Module:
        own = {f"backbone.{name}": answer for name, answer in architecture.decisions.items()}
        return ReID(backbone=backbone, num_ids=NUM_CLASSES, embedding_dim=None).student(Architecture("ReID", own))

    return build


def _tabulated(path: Path) -> list[Table]:
    """The arms of a table of `nas tabulate`: the accuracy is the mean mAP of all seeds, on the test set."""
    table = read_table(path)
    with blamed_on(path):
        return [_of_arm(path, table, arm) for arm in table["arms"]]


def _of_arm(path: Path, table: Mapping[str, Any], arm: str) -> Table:
    rows = {row["hash"]: row for row in table["architectures"]}
    accuracies = {each: 100 * sum(values) / len(values) for each, values in scores(table, arm).items()}
    if len(accuracies) < LEAST_ROWS:
        raise ValueError(
            f"{path} has {len(accuracies)} architectures with all seeds of the arm {arm!r}, and a search needs "
            f"{LEAST_ROWS}: the `nas tabulate` that began it goes on with it"
        )
    macs = {each: rows[each]["multiply_adds"] for each in accuracies}
    name, images = f"{table['space']}, {arm}", table["arms"][arm]["config"]["images"]
    size = (images["height"], images["width"])
    if lacks := _lacks(table, len(accuracies)):
        built = _tabulated_networks(table, rows, _row_of)
        return Table(name, Rows(tuple(accuracies)), _row_of, accuracies, macs, {}, built, size, lacks)
    decisions = {each: _values(rows[each]["decisions"]) for each in accuracies}
    by_answers = {Architecture("", answers): each for each, answers in decisions.items()}
    tree, key = Branches.of([list(answers.items()) for answers in decisions.values()]), by_answers.__getitem__
    return Table(name, Tree(tree), key, accuracies, macs, {}, _tabulated_networks(table, rows, key), size)


def _tabulated_networks(
    table: Mapping[str, Any], rows: Mapping[str, Any], key: Callable[[Architecture], str]
) -> Callable[[Architecture], nn.Module] | None:
    """Builds the networks of a table's `rows`, as they were trained; None for those that are not for crops."""
    import_spaces()
    space = decode(table["settings"], StudentSpace, "settings")
    if not isinstance(space, ReIDSpace):
        return None
    known = space.with_ids(NUM_CLASSES)
    return lambda architecture: known.student(Architecture.from_dict(rows[key(architecture)]))


def _lacks(table: Mapping[str, Any], num_rows: int) -> str:
    num_planned, chosen = len(table["architectures"]), table["chosen"]
    if chosen["how"] != ALL:
        return f"has {num_rows} architectures that were drawn by chance"
    if chosen["multiply_adds"] is not None:
        return f"has only the {num_rows} architectures of about equal MACs"
    return f"lacks {num_planned - num_rows} of {num_planned} architectures" if num_rows < num_planned else ""


def _values(decisions: Mapping[str, Any]) -> dict[str, Value]:
    """A node with several inputs is one question, whose answer is a text."""
    return {name: "+".join(answer) if isinstance(answer, list) else answer for name, answer in decisions.items()}


def _row_of(architecture: Architecture) -> str:
    return str(architecture.decisions[ROW])


def _check_keys(path: Path, keys: Mapping[str, object], read: Callable[[str], Architecture], count: int) -> None:
    """Raises ValueError unless `keys` are those of all `count` architectures."""
    if len(keys) != count:
        raise ValueError(f"{path} must have each of the {count} architectures of its space, not {len(keys)}")
    for key in keys:
        try:
            read(key)
        except ValueError as error:
            raise ValueError(f"{path} does not fit its space: {error}") from None


def _numbers(path: Path, rows: Mapping[str, Mapping], column: str, most: float) -> dict[str, float]:
    numbers = {}
    for key, row in rows.items():
        try:
            numbers[key] = float(row[column])
        except (KeyError, TypeError, ValueError):
            numbers[key] = math.nan
        if not 0 <= numbers[key] <= most:
            raise ValueError(f"{path}: {column} of {key} must be a number from 0 to {most:g}, not {row.get(column)!r}")
    return numbers


def _cell_multiply_adds(keys: Mapping[str, object]) -> dict[str, int]:
    """Those of each cell's network on CIFAR-10 without its classifier: edges with the same operation cost the same."""
    empty = dict.fromkeys((f"cell.{node}<{source}" for source, node in EDGES), "none")

    def counted(decisions: dict[str, str]) -> int:
        with torch.device("meta"):
            net = NASBench201().student(Architecture("", decisions))
        return cost(net, 32, 32).multiply_adds

    base = counted(empty)
    extra = {TABLE_NAMES[op]: counted(empty | {"cell.1<0": op}) - base for op in ("conv1", "conv3")}
    return {key: base + sum(key.count(name) * more for name, more in extra.items()) for key in keys}
