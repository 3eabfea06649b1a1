"""`nas bench proxies`: zero-cost proxies on tables of trained networks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import kendalltau, spearmanr

from nas.bench.strategies import Row
from nas.bench.tables import Table, read_tables
from nas.strategies.proxies import NUM_BATCHES, ProxyName
from nas.system.files import write_json
from search_spaces.architecture import Architecture
from search_spaces.ranges import Count, TwoOrMore, checked

OUT = Path("runs/out/bench-proxies")


@checked
def proxies(
    tables: Path, sample: TwoOrMore = 1000, seeds: Count = 50, trials: Count = 100, out: Path = OUT
) -> dict[str, Row]:
    """How well zero-cost proxies agree with the accuracies (%, on the test set) in every table in the folder `tables`.

    A sample of each table's networks is looked at, untrained and on noise: those of the public tables thin (few
    channels and layers), those of `nas tabulate` as they were trained. Beside the proxies `multiply_adds` is one, too.
    `spearman`, `kendall`: the rank correlations over the sample. `mean`, `std`: of the accuracy, over the seeds, of the
    best by proxy of so many `trials` out of the sample; `chance`: the mean of all, `best`: that of the best by accuracy
    of as many. `seconds`: of one look. The values go to `out`.

    Raises ValueError for counts that are too small, and tables that are missing or do not fit.
    """
    if trials > sample:
        raise ValueError(f"trials must be at most sample, {sample}, not {trials}: give --sample or --trials")
    known = [table for table in read_tables(tables) if table.untrained]
    if not known:
        raise ValueError(
            f"{tables} has no table whose networks can be built: a proxy looks at those of the public tables and at "
            "networks for crops"
        )
    looked: dict[int, dict[str, np.ndarray]] = {}
    rows: dict[str, Row] = {}
    values: dict[str, dict[str, list[float]]] = {}
    for table in known:
        drawn = sampled(table, sample)
        keys = [table.key(architecture) for architecture in drawn]
        accuracies = np.array([table.accuracies[key] for key in keys])
        if id(table.space) not in looked:  # CIFAR-10 and -100 have the same networks
            looked[id(table.space)] = _looks(table, drawn)
        values[table.name] = {name: each[0].tolist() for name, each in looked[id(table.space)].items()}
        for name, (said, seconds) in looked[id(table.space)].items():
            rows[f"{table.name}: {name}"] = _row(said, accuracies, seeds, trials) | {"seconds": float(seconds.mean())}
    write_json(out / "proxies.json", {"rows": rows, "values": values})
    return rows


def sampled(table: Table, count: int) -> list[Architecture]:
    """Different ones, by chance, or all where the table has fewer; always the same."""
    rng, found = np.random.default_rng(0), dict[Architecture, None]()
    while len(found) < min(count, len(table.accuracies)):
        found.setdefault(table.space.sample(rng))
    return list(found)


def _looks(table: Table, drawn: list[Architecture]) -> dict[str, np.ndarray]:
    """By proxy its values and the seconds that each took `[2, num_drawn]`."""
    costs = [table.multiply_adds[table.key(architecture)] for architecture in drawn]
    found = {"multiply_adds": np.array([costs, np.zeros(len(drawn))])}
    names: list[ProxyName] = list(NUM_BATCHES)
    for name in names:
        bar = track(drawn, name, console=Console(stderr=True), disable=not sys.stderr.isatty())
        scores = [table.estimate(architecture, name) for architecture in bar]
        found[name] = np.array([[score.value for score in scores], [score.seconds for score in scores]])
    return found


def _row(said: np.ndarray, accuracies: np.ndarray, seeds: int, trials: int) -> Row:
    tried = [
        np.random.default_rng(seed).choice(len(said), min(trials, len(said)), replace=False) for seed in range(seeds)
    ]
    reached = np.array([accuracies[places[said[places].argmax()]] for places in tried])
    row = {
        "spearman": spearmanr(said, accuracies).statistic,
        "kendall": kendalltau(said, accuracies).statistic,
        "mean": reached.mean(),
        "std": reached.std(),
        "chance": accuracies.mean(),
        "best": np.mean([accuracies[places].max() for places in tried]),
    }
    return {key: float(value) for key, value in row.items()}
