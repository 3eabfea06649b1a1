"""`nas bench strategies`: discrete strategies on tables whose best networks are known."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import starmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from warnings import warn

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from scipy.stats import mannwhitneyu

from nas.bench.tables import Table, read_tables
from nas.errors import near_misses
from nas.report.style import MUTED, SERIES_COLOURS, STYLE, WIDTH, png, svg
from nas.strategies.discrete import search_alone
from nas.strategies.evolution import Evolution
from nas.strategies.optuna_search import OptunaSearch
from nas.strategies.random_search import RandomSearch
from nas.strategies.reinforce import Reinforce
from nas.system.files import write_bytes, write_json, write_text
from nas.system.processes import SPAWN, end_with, lifeline, safe_path
from search_spaces.ranges import Count, Processes, checked

Row = dict[str, float]
BASELINE = "random"
STRATEGIES = {
    BASELINE: RandomSearch(),
    "reinforce": Reinforce(),
    "evolution": Evolution(),
    "tpe": OptunaSearch(),
    "nsga2": OptunaSearch(sampler="nsga2"),
    "gp": OptunaSearch(sampler="gp"),
}
FAST = ("reinforce", "evolution", "tpe", "nsga2")
"""A search by Gaussian process takes half a minute, the others a second or two."""
OUT = Path("runs/out/bench-strategies")


@checked
def strategies(
    tables: Path,
    seeds: Count = 50,
    trials: Count = 200,
    only: tuple[str, ...] | None = None,
    processes: Processes = 2,
    out: Path = OUT,
) -> dict[str, Row]:
    """The best accuracy (%, on the test set) found by so many trials, on every table in the folder `tables`.

    A trial is one look into a table: the clock counts trials, as the tables give no times.

    `mean`, `std`: over the seeds; `regret`: the optimum less the mean; `optimal`: the share of seeds that found it;
    `p`: of random search being as good (one-sided Mann-Whitney test). `front`: the area under accuracy over
    MACs, as a share of the table's; `p_front`: the same test. `published`: the authors' figure;
    `published_after`: trials until the mean reaches it. `only`: strategies beside random search; by default all but
    `gp`, which is slow. The curves of best so far go to `out`, as pictures and data.

    A table that lacks architectures of its space can only be asked for its rows, which random search draws; strategies
    that move through the space need all of it.

    Raises ValueError for counts below 1, an unknown strategy, tables that are missing or do not fit, and a strategy
    that is asked for where a table lacks architectures.
    """
    for name in only or ():
        if name not in STRATEGIES:
            raise ValueError(
                f"there is no strategy {name!r} here{near_misses(name, STRATEGIES)}; there are {', '.join(STRATEGIES)}"
            )
    known = read_tables(tables)
    jobs = [
        (tables, place, name, seed, trials)
        for place, table in enumerate(known)
        for name in _names(table, only)
        for seed in range(seeds)
    ]
    found: dict[tuple[int, str], list[tuple[list[float], float]]] = {}
    for (_, place, name, *_), one in zip(jobs, _worked(jobs, processes), strict=True):
        found.setdefault((place, name), []).append(one)
    curves = {key: np.array([curve for curve, _ in searches]) for key, searches in found.items()}
    fronts = {key: np.array([front for _, front in searches]) for key, searches in found.items()}
    rows = {
        f"{known[place].name}: {name}": _row(
            known[place], name, *(np.stack([of[place, BASELINE], of[place, name]]) for of in (curves, fronts))
        )
        for place, name in curves
    }
    of_tables = [{name: of for (at, name), of in curves.items() if at == place} for place in range(len(known))]
    _write(out, known, of_tables, rows)
    return rows


def _names(table: Table, only: Sequence[str] | None) -> list[str]:
    """The strategies that search in the table. Raises ValueError where it lacks what one of those in `only` needs."""
    names = dict.fromkeys((BASELINE, *(FAST if only is None else only)))
    if not table.lacks:
        return list(names)
    if only is None:
        warn(f"{table.name} {table.lacks}: only random search is measured, among these", stacklevel=2)
    elif others := [name for name in names if name != BASELINE]:
        raise ValueError(
            f"{table.name} {table.lacks}, and {', '.join(others)} would ask for others: leave --only out, for random "
            "search among these, or give a finished table of `nas tabulate --architectures all`"
        )
    return [BASELINE]


def searched(folder: Path, place: int, name: str, seed: int, trials: int) -> tuple[list[float], float]:
    """One search in the table at `place`: the best accuracy after each trial, and the front's share.

    No two strategies share their draws.
    """
    table, strategy = read_tables(folder)[place], replace(STRATEGIES[name], trials=trials)
    tried = search_alone(strategy, table.space, table, 10**6 * list(STRATEGIES).index(name) + seed)
    accuracies, costs = zip(*((trial.score.value, trial.score.cost) for trial in tried), strict=True)
    return np.maximum.accumulate(accuracies).tolist(), front_share(table, accuracies, costs)


def front_share(table: Table, accuracies: Sequence[float], costs: Sequence[float]) -> float:
    """The hypervolume of these networks as a share of the whole table's.

    The reference point has the table's median accuracy and its largest cost. It is 1 where the whole table has none, as
    only the most expensive networks are better than the median.
    """
    whole = np.array([(accuracy, table.multiply_adds[key]) for key, accuracy in table.accuracies.items()])
    least, most = np.median(whole[:, 0]), whole[:, 1].max()
    everything = hypervolume(whole[:, 0], whole[:, 1], least, most)
    return hypervolume(np.array(accuracies), np.array(costs), least, most) / everything if everything else 1.0


def hypervolume(values: np.ndarray, costs: np.ndarray, least: float, most: float) -> float:
    """The area of all pairs (value above `least`, cost below `most`) that one of the points is as good as."""
    order = np.argsort(costs, kind="stable")
    best = np.maximum.accumulate(np.maximum(values[order] - least, 0))
    return float(best @ np.diff(costs[order], append=most))


def _worked(jobs: Sequence[tuple], processes: int) -> Iterator[tuple[list[float], float]]:
    """What the jobs found, in their order."""
    bar: dict[str, Any] = {"description": "searches", "total": len(jobs), "disable": not sys.stderr.isatty()}
    if processes == 1:
        yield from track(starmap(searched, jobs), console=Console(stderr=True), **bar)
        return
    with safe_path(), lifeline() as line, ProcessPoolExecutor(processes, SPAWN, _begin, (line,)) as pool:
        found = pool.map(searched, *zip(*jobs, strict=True), chunksize=5)
        yield from track(found, console=Console(stderr=True), **bar)


def _begin(line: Connection) -> None:
    end_with(line)
    torch.set_num_threads(1)


def _row(table: Table, name: str, curves: np.ndarray, fronts: np.ndarray) -> Row:
    """`curves` `[2, seeds, trials]` and `fronts` `[2, seeds]` are random search's and the strategy's."""
    chance, final = curves[:, :, -1]
    row = {
        "mean": final.mean(),
        "std": final.std(),
        "regret": table.optimum - final.mean(),
        "optimal": (final == table.optimum).mean(),
        "front": fronts[1].mean(),
    }
    if name != BASELINE:
        row["p"] = mannwhitneyu(final, chance, alternative="greater").pvalue
        row["p_front"] = mannwhitneyu(fronts[1], fronts[0], alternative="greater").pvalue
    if name in table.published:
        row["published"] = table.published[name]
        reached = curves[1].mean(axis=0) >= table.published[name]
        if reached.any():
            row["published_after"] = reached.argmax() + 1
    return {key: float(value) for key, value in row.items()}


Curves = Mapping[str, np.ndarray]
"""Of one table the best so far by strategy, `[seeds, trials]`."""


def _write(out: Path, known: Sequence[Table], curves: Sequence[Curves], rows: dict[str, Row]) -> None:
    means = {
        table.name: {name: curve.mean(axis=0).tolist() for name, curve in of.items()}
        for table, of in zip(known, curves, strict=True)
    }
    write_json(
        out / "strategies.json",
        {"rows": rows, "optimum": {table.name: table.optimum for table in known}, "mean_best_so_far": means},
    )
    figure = _drawn(known, curves)
    write_text(out / "strategies.svg", svg(figure, transparent=False))
    write_bytes(out / "strategies.png", png(figure))


def _drawn(known: Sequence[Table], curves: Sequence[Curves]) -> Figure:
    """The mean of the best so far over the trials; a quarter of the seeds is above each band, a quarter below.

    A diamond at the right is the authors' figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        for axes, table, of in zip(figure.subplots(1, len(known), squeeze=False)[0], known, curves, strict=True):
            trials = np.arange(1, of[BASELINE].shape[1] + 1)
            for (name, curve), colour in zip(of.items(), SERIES_COLOURS, strict=False):
                quarters = np.quantile(curve, (0.25, 0.75), axis=0)
                axes.plot(trials, curve.mean(axis=0), color=colour, label=name)
                axes.fill_between(trials, *quarters, color=colour, alpha=0.12, linewidth=0)
                if name in table.published:
                    axes.plot(trials[-1], table.published[name], marker="D", color=colour, zorder=3)
            axes.axhline(table.optimum, color=MUTED, linestyle=":", linewidth=1, label="optimum")
            begin = len(trials) // 10  # before it, curves climb too steeply
            low = min(curve[:, begin].mean() for curve in of.values())
            axes.set_ylim(low, table.optimum + 0.05 * (table.optimum - low) + 1e-3)
            axes.set(xlabel="trials")
            axes.set_title(table.name, loc="left")
        figure.axes[0].set_ylabel("best test accuracy so far (%)")
        figure.axes[-1].plot([], [], linestyle="", marker="D", color=MUTED, label="published")
        figure.axes[-1].legend(fontsize=8, loc="lower right")
        return figure
