"""Tables of networks that others have trained: a strategy's trial is a look into one of them.

Both tables give the accuracy on the test set at the end of training, the mean of several runs. Neither gives the time
it took, so that the clock of a simulated search counts trials.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.strategies.base import Score
from search_spaces import nas_bench_201, nas_bench_macro
from search_spaces.base import Architecture, SearchSpace
from search_spaces.cost import cost
from search_spaces.nas_bench_201 import EDGES, TABLE_NAMES, NASBench201
from search_spaces.nas_bench_macro import NASBenchMacro

CELLS = "nats_bench_topology.csv"
MACRO = "nas-bench-macro_cifar10.json"


@dataclass(frozen=True)
class Table:
    """Accuracies (%) and multiply-adds of every network of a space, by the table's own keys."""

    name: str
    space: SearchSpace
    """The smallest one that asks the table's questions: strategies see its architectures alone."""
    key: Callable[[Architecture], str]
    accuracies: Mapping[str, float]
    multiply_adds: Mapping[str, int]

    @property
    def optimum(self) -> float:
        return max(self.accuracies.values())

    def score(self, architecture: Architecture, epochs: int) -> Score:
        key = self.key(architecture)
        return Score(self.accuracies[key], self.multiply_adds[key], 0.0)


class Memory:
    """A stage whose loop is kept in memory; used again, it goes on."""

    def __init__(self) -> None:
        self.history: list[dict] = []
        self.stopped = False

    def loop(self, num_epochs: int, num_steps: int, parts: Mapping[str, object]) -> Memory:
        self.num_epochs = num_epochs
        return self

    def epochs(self) -> Iterator[int]:
        while len(self.history) < self.num_epochs and not self.stopped:
            yield len(self.history)

    def end_epoch(self, **record: object) -> None:
        self.history.append({"epoch": len(self.history)} | record)

    def stop(self, why: str) -> None:
        self.stopped = True


def tables(folder: Path) -> list[Table]:
    """The tables in `folder`. Raises ValueError naming what is missing or does not fit its space."""
    macro = _macro(folder / MACRO)
    return [*_cells(folder / CELLS), macro]


def _cells(path: Path) -> list[Table]:
    with _opened(path) as file:
        rows = {row.get("architecture", ""): row for row in csv.DictReader(file)}
    _check_keys(path, rows, nas_bench_201.from_table_key, 5**6)
    multiply_adds = _cell_multiply_adds(rows)
    space = NASBench201(channels=1, cells=1, num_stages=1)
    return [Table(f"NAS-Bench-201, {name}", space, nas_bench_201.table_key,
                  {key: _percent(path, key, row.get(column)) for key, row in rows.items()}, multiply_adds)
            for name, column in (("CIFAR-10", "cifar10_test"), ("CIFAR-100", "cifar100_test"))]


def _macro(path: Path) -> Table:
    with _opened(path) as file:
        try:
            rows = json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
    _check_keys(path, rows, nas_bench_macro.from_table_key, 3**8)
    return Table("NAS-Bench-Macro, CIFAR-10", NASBenchMacro(channels=1, last_channels=1), nas_bench_macro.table_key,
                 {key: _percent(path, key, row.get("mean_acc")) for key, row in rows.items()},
                 {key: int(row["flops"]) for key, row in rows.items()})


def _opened(path: Path):
    if not path.is_file():
        raise ValueError(f"the table {path} does not exist: --tables is the folder that has {CELLS} and {MACRO}")
    return path.open(encoding="utf-8", newline="")


def _check_keys(path: Path, keys: Mapping[str, object], read: Callable[[str], Architecture], count: int) -> None:
    for key in keys:
        try:
            read(key)
        except ValueError as error:
            raise ValueError(f"{path} does not fit its space: {error}") from None
    if len(keys) != count:
        raise ValueError(f"{path} must have each of the {count} architectures of its space, not {len(keys)}")


def _percent(path: Path, key: str, text: object) -> float:
    try:
        accuracy = float(text)
    except (TypeError, ValueError):
        accuracy = -1.0
    if not 0 <= accuracy <= 100:
        raise ValueError(f"{path}: the accuracy of {key} must be from 0 to 100 %, not {text!r}")
    return accuracy


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
