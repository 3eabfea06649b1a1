"""Curves of a run as SVG text.

Every function takes plain data (lines of a history, rows of the metrics) and returns one SVG image whose text stays
text. What is missing, not a number or infinite is a gap in its curve; a function with nothing to draw returns "".
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.metrics.front import front
from nas.report.cell_graphs import operation_name
from nas.report.numbers import MEASURED
from nas.report.style import (
    LABEL_WIDTH,
    MUTED,
    OPERATION_COLOURS,
    SERIES_COLOURS,
    SMALL,
    STYLE,
    WIDTH,
    legend_label,
    percent_axis,
    svg,
    whole_ticks,
)

DASHES = ("-", "--", "-.", ":")
ALPHA_COLUMNS = 5
NARROW_LABEL = 16  # of a legend in one of several panels, characters
LONGEST_TITLE = 26
OTHER = "other decisions"
COSTS = {"multiply_adds": ("MACs (M)", 1e-6), "latency_ms": ("ms per image", 1.0)}
VALUES = {"mAP": ("mAP (%)", 100.0)}
VALIDATED = {"mAP": "mAP (%)", "rank1": "rank-1 (%)"}
MATCHING_RATE, RANK = "matching rate (%)", "rank"
PERCENT = (MATCHING_RATE, *VALIDATED.values())
LIMIT = 1e30  # beyond it an axis overflows; such a value is a gap

_EDGE = re.compile(r"(?P<cell>.+)\.(?P<node>\d+)<(?P<state>\d+)")

Curve = tuple[str, Sequence[float], Sequence[float]]  # name, x, y
Panel = tuple[str, str, list[Curve]]  # title, label of the y axis, curves


def alphas(history: Sequence[dict]) -> dict[str, str]:
    """The softmax weights over the epochs: by kind of cell, one small plot an edge; those of other decisions apart.

    Names such as `backbone.normal.2<0` put the edge from state 0 into node 2 in the plots of `backbone.normal`; any
    other name is a decision outside the cells.
    """
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for line in history for name in line.get("alphas") or {}):
        edge = _EDGE.fullmatch(name)
        kinds.setdefault(edge["cell"] if edge else OTHER, []).append(name)
    return {kind: _alpha_grid(history, sorted(names, key=_edge_order)) for kind, names in kinds.items()}


def health(history: Sequence[dict]) -> str:
    return _panels(health_panels(history), ylim=(-0.03, 1.03))


def health_panels(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """How decided the search is, and how far it leans on operations without weights, each between 0 and 1."""
    names = dict.fromkeys(name for line in history for name in line.get("health") or {})
    curves = [(name.replace("_", " "), *_over_epochs(history, "health", name)[1:]) for name in names]
    return _with_curves([("", "", _drawable(curves))])


def measures(history: Sequence[dict]) -> str:
    return _panels(measure_panels(history))


def measure_panels(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """What a gradient search keeps an eye on beside its losses: the costs, the Hessian and what it draws by."""
    panels: list[Panel] = []
    for key, (title, unit) in COSTS.items():
        curves = [
            (name, x, [unit * each for each in y])
            for name, x, y in (_over_epochs(history, key, name) for name in ("expected", "predicted"))
        ]
        panels.append((title, "", _drawable(curves)))
    for key, title in (("eigenvalue", "largest eigenvalue of the Hessian"), ("tau", "tau of the Gumbel softmax")):
        _, epochs, values = _over_epochs(history, key)
        panels.append((title, "", _drawable([("", epochs, values)])))
    return _with_curves(panels)


def trials(history: Sequence[dict], value: str = "score", cost: str = "cost") -> str:
    """Architectures that were tried one after the other: the best score so far, and all scores against cost.

    `value` and `cost` say what the scores and costs are. Hollow markers are trials that were stopped early; the line
    through the others is their front. What else a search weighed has a panel of its own, and the front, of all of them,
    is ringed.
    """
    tried = [line for line in history if math.isfinite(_number(line.get("score")))]
    if not tried:
        return ""
    (value_title, per_value), (cost_title, per_cost) = VALUES.get(value, (value, 1.0)), COSTS.get(cost, (cost, 1.0))
    score, best, price = (
        per * np.array([_number(line.get(key)) for line in tried])
        for key, per in (("score", per_value), ("best", per_value), ("cost", per_cost))
    )
    whole = np.array([not line.get("pruned") for line in tried])
    number = np.arange(1, len(tried) + 1)
    known = np.isfinite(price)
    further = _further(tried)
    num_panels = 2 + len(further) if known.any() else 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if known.any() else SMALL[0], SMALL[1]), layout="constrained")
        panels = figure.subplots(1, num_panels, squeeze=False)[0]
        _scatter(panels[0], number, score, whole)
        panels[0].plot(number, best, drawstyle="steps-post", color=SERIES_COLOURS[1], label="best so far")
        panels[0].set(xlabel="trial", ylabel=value_title)
        whole_ticks(panels[0])
        panels[0].legend(fontsize=8, loc="best")
        if known.any():
            for axes, (title, values) in zip(panels[1:], {value_title: score, **further}.items(), strict=True):
                _scatter(axes, price[known], values[known], whole[known])
                axes.set(xlabel=cost_title, ylabel=title)
            if further:
                _ring_front(panels[1:], price, [score, *further.values()], known & whole)
            else:
                _plot_front(panels[1], price[known & whole], score[known & whole])
        return svg(figure)


def _further(lines: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What else a search weighed, by its title: percent."""
    said = [line.get("further") or {} for line in lines]
    return {
        f"{MEASURED[name][0] if name in MEASURED else name} (%)": np.array(
            [100 * _number(each.get(name)) for each in said]
        )
        for name in dict.fromkeys(name for each in said for name in each)
    }


def training(history: Sequence[dict]) -> str:
    return _panels(training_panels(history))


def training_panels(history: Sequence[dict]) -> list[Panel]:
    """Losses, temperature, validated mAP and rank-1 of one stage, a panel for each that the history has."""
    panels: list[Panel] = []
    for key, title in (("weight", "loss of the weights"), ("alpha", "loss of the alphas"), ("loss", "loss")):
        names = dict.fromkeys(name for line in history for name in line.get(key) or {})
        panels.append((title, "", _drawable(_over_epochs(history, key, name) for name in names)))
    _, epochs, temperatures = _over_epochs(history, "temperature")
    panels.append(("temperature", "", _drawable([("", epochs, temperatures)])))
    for key, title in VALIDATED.items():
        _, epochs, shares = _over_epochs(history, key)
        panels.append((title, "", _drawable([("", epochs, [100 * share for share in shares])])))
    return _with_curves(panels)


def cmc(curves: dict[str, Sequence[float]], num_gallery: int | None = None, across: str = RANK) -> str:
    """Cumulative matching characteristics: the share of queries (%) with a right match among the first k, which are
    no more than the gallery has. `across` says what k counts."""
    lines = [
        (name, range(1, len(values) + 1), [100 * _number(value) for value in values])
        for name, values in ((name, curve[:num_gallery]) for name, curve in curves.items())
    ]
    return _panels(_with_curves([("", MATCHING_RATE, _drawable(lines))]), xlabel=across, dashed=True)


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, filled: np.ndarray) -> None:
    for chosen, face in ((filled, SERIES_COLOURS[0]), (~filled, "none")):
        axes.plot(x[chosen], y[chosen], "o", markersize=4, markerfacecolor=face, markeredgecolor=SERIES_COLOURS[0])


def _ring_front(panels: Iterable[Axes], costs: np.ndarray, measures: Sequence[np.ndarray], counted: np.ndarray) -> None:
    """Around the points of the front of the costs and all `measures`, each of which has a panel."""
    counted = counted & np.isfinite(measures).all(axis=0)
    best = np.flatnonzero(counted)[front(costs[counted], *(each[counted] for each in measures))]
    look: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": SERIES_COLOURS[1]}
    for axes, values in zip(panels, measures, strict=True):
        axes.plot(costs[best], values[best], "o", markeredgewidth=1.4, **look)


def _plot_front(axes: Axes, costs: np.ndarray, scores: np.ndarray) -> None:
    best = front(costs, scores)
    order = np.argsort(costs[best], kind="stable")
    axes.plot(costs[best][order], scores[best][order], "o-", color=SERIES_COLOURS[1], markersize=4.5, label="front")
    axes.legend(fontsize=8, loc="best")


def _alpha_grid(history: Sequence[dict], names: list[str]) -> str:
    columns = min(ALPHA_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    weights = [(line.get("alphas") or {}).get(name) or {} for line in history for name in names]
    operations = list(dict.fromkeys(key for each in weights for key in each))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if columns > 2 else SMALL[0], 1.5 * rows + 0.9), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, name in zip(grid.flat, names, strict=False):
            curves = _drawable(_over_epochs(history, "alphas", name, key) for key in operations)
            handles |= _plot_operations(axes, operations, curves)
            axes.set_title(_edge_title(name), loc="left", fontsize=8.5)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        _finish_grid(figure, grid, handles, legend_columns=7 if columns > 2 else 3)
        return svg(figure)


def _plot_operations(axes: Axes, operations: list[str], curves: list[Curve]) -> dict:
    """One line an operation in the operation's colour; returns the lines by the operation's name, for the legend."""
    unknown = [key for key in operations if key not in OPERATION_COLOURS]
    lines = {}
    for key, x, y in curves:
        colour = OPERATION_COLOURS.get(key) or SERIES_COLOURS[unknown.index(key) % len(SERIES_COLOURS)]
        style = ":" if key == "none" else "-"
        marker = "o" if len(x) == 1 else ""
        (lines[legend_label(operation_name(key))],) = axes.plot(x, y, style, color=colour, marker=marker, markersize=3)
    return lines


def _finish_grid(figure: Figure, grid, handles: dict, legend_columns: int) -> None:
    """Shared axes, labels on the outside, one legend above all."""
    for axes in grid.flat:
        whole_ticks(axes, 3)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.set_ylim(bottom=0)
    figure.supxlabel("epoch", fontsize=9, color=MUTED)
    figure.supylabel("softmax weight", fontsize=9, color=MUTED)
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=legend_columns, fontsize=8)


def _with_curves(panels: list[Panel]) -> list[Panel]:
    return [panel for panel in panels if panel[2]]


def _panels(
    panels: list[Panel],
    xlabel: str = "epoch",
    ylim: tuple[float, float] | None = None,
    dashed: bool = False,
) -> str:
    """Plots beside each other, a title and a label of the y axis for each; none without panels."""
    if not panels:
        return ""
    columns = min(len(panels), 4)
    rows = math.ceil(len(panels) / columns)
    width, height = SMALL if len(panels) == 1 else (WIDTH, 2.5)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (title, ylabel, curves) in zip(grid.flat, panels, strict=False):
            _plot_curves(axes, curves, dashed, LABEL_WIDTH if columns == 1 else NARROW_LABEL)
            axes.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
            axes.set_title(title, loc="left")
            if xlabel == RANK:
                _rank_ticks(axes)
            if {title, ylabel} & set(PERCENT):
                percent_axis(axes)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        return svg(figure)


def _plot_curves(axes: Axes, curves: list[Curve], dashed: bool, width: int) -> None:
    for number, (name, x, y) in enumerate(curves):
        dashes = DASHES[number % len(DASHES)] if dashed else "-"
        colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
        marker = "o" if len(x) <= 12 else ""  # a curve of a few points shows them; one of many is a line
        axes.plot(x, y, dashes, color=colour, marker=marker, markersize=3.5, label=legend_label(name, width))
    whole_ticks(axes)
    if any(name for name, *_ in curves):
        axes.legend(fontsize=8, loc="best")


def _rank_ticks(axes: Axes) -> None:
    """From the first rank on, as there is no rank 0."""
    last = math.floor(axes.dataLim.xmax)
    step = next(step for step in (1, 5, 10, 50, 10**6) if last <= 6 * step)
    axes.set_xticks(sorted({1, *range(step, last + 1, step)}))
    axes.set_xlim(0.5, last + 0.5)


def _over_epochs(history: Sequence[Mapping[str, Any]], *keys: str) -> Curve:
    """The curve of `line[key][key]...` over the epochs, named by the last key."""
    x, y = [], []
    for line in history:
        value: object = line
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        x.append(_number(line.get("epoch")))
        y.append(_number(value))
    return keys[-1], x, y


def _drawable(curves: Iterable[Curve]) -> list[Curve]:
    """The curves without their gaps' points, and without those that have no point at all."""
    kept: list[Curve] = []
    for name, x, y in curves:
        points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        if points:
            kept.append((name, [a for a, _ in points], [b for _, b in points]))
    return kept


def _edge_title(name: str) -> str:
    """`backbone.normal.2<0` as `0 → 2`; of another decision's name as much as fits."""
    edge = _EDGE.fullmatch(name)
    if edge:
        return f"{edge['state']} → {edge['node']}"
    return name if len(name) <= LONGEST_TITLE else f"…{name[1 - LONGEST_TITLE :]}"


def _edge_order(name: str) -> tuple[int, int]:
    """By node, then by input; other decisions stay in the order they were asked."""
    edge = _EDGE.fullmatch(name)
    return (int(edge["node"]), int(edge["state"])) if edge else (0, 0)


def _number(value: object) -> float:
    """The value as a number an axis can bear, or NaN."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    return float(value) if abs(value) <= LIMIT else math.nan
