"""Plots that set several runs side by side: their weights, and what they reach as something changes."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.report.style import INK, SERIES_COLOURS, SMALL, STYLE, WIDTH, legend_label

NUM_BINS = 81
PANELS_IN_A_ROW = 4
SHOWN = 0.995  # share of a stage's weights that its panel has room for


def weight_histograms(networks: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """How the weights of each stage are distributed, a panel per stage and a line per network (KSL, Figure 5).

    networks: for each network its stages' weights, flat arrays by the same names. Raises ValueError when the stages
    differ. Density on the vertical axis; the legend says how many weights of all stages are dead, |w| < 1e-3.
    """
    stages = list(next(iter(networks.values())))
    for name, weights in networks.items():
        if list(weights) != stages:
            raise ValueError(
                f"the networks must have the same stages: {name} has {', '.join(weights)}, not {', '.join(stages)}"
            )
    across = min(PANELS_IN_A_ROW, len(stages))
    down = -(-len(stages) // across)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.6 + 2.4 * down), layout="constrained")
        panels = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, stage in zip(panels, stages, strict=False):
            bound = np.quantile(np.abs(np.concatenate([weights[stage] for weights in networks.values()])), SHOWN)
            edges = np.linspace(-bound, bound, NUM_BINS + 1)
            for colour, weights in zip(cycle(SERIES_COLOURS), networks.values(), strict=False):
                density = np.histogram(weights[stage], edges)[0] / len(weights[stage]) / (edges[1] - edges[0])
                axes.stairs(density, edges, color=colour, linewidth=1.4)
            axes.set_title(stage, loc="left")
            axes.set(yticks=[], xlabel="weight")
        for axes in panels[len(stages) :]:
            axes.set_visible(False)
        handles = [Line2D([], [], color=colour) for colour in islice(cycle(SERIES_COLOURS), len(networks))]
        figure.legend(
            handles,
            [f"{legend_label(name)} ({100 * dead_share(weights):.1f} % dead)" for name, weights in networks.items()],
            loc="outside lower center",
            ncols=len(networks),
        )
    return figure


def dead_share(weights: Mapping[str, np.ndarray]) -> float:
    """The share of weights with |w| < 1e-3 ("near-zero dead weights"; the threshold is ours)."""
    together = np.concatenate(list(weights.values()))
    return float((np.abs(together) < 1e-3).mean())


def curves(lines: Mapping[str, Mapping[float, Sequence[float]]], across: str, upwards: str) -> Figure:
    """A line per name through the means at each place, with a bar from the lowest to the highest of several."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SMALL, layout="constrained")
        axes = figure.subplots()
        for colour, (name, points) in zip(cycle(SERIES_COLOURS), lines.items(), strict=False):
            _draw_curve(axes, name, points, colour)
        axes.set(xlabel=across, ylabel=upwards)
        axes.legend(fontsize=8)
    return figure


def panels_of_curves(
    panels: Mapping[str, Mapping[str, Mapping[float | None, Sequence[float]]]], across: str, upwards: str
) -> Figure:
    """The same lines in a panel for each name, with one legend; what is at no place (None) is a level, dashed."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    placed_names = [name for name in names if any(set(lines.get(name, {})) - {None} for lines in panels.values())]
    colours = dict(zip(placed_names, cycle(SERIES_COLOURS), strict=False))
    shown: dict[str, Any] = {}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, SMALL[1] + 0.15 * len(names)), layout="constrained")
        for axes, (title, lines) in zip(
            figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
        ):
            for name, points in lines.items():
                if placed := {place: values for place, values in points.items() if place is not None}:
                    shown[name] = _draw_curve(axes, name, placed, colours[name])
                if None in points:
                    shown[name] = axes.axhline(float(np.mean(points[None])), color=INK, linestyle="--", linewidth=1.2)
            axes.set_title(title, loc="left")
            axes.set(xlabel=across)
        figure.axes[0].set(ylabel=upwards)
        handles = [shown[name] for name in names]
        figure.legend(handles, list(map(legend_label, names)), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def below_each_other(pictures: Sequence[np.ndarray]) -> Figure:
    """Pictures `[H, W, 3]` of about one width, as they are."""
    height = sum(len(picture) / picture.shape[1] for picture in pictures)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, WIDTH * height), layout="constrained")
        for axes, picture in zip(figure.subplots(len(pictures), squeeze=False)[:, 0], pictures, strict=True):
            axes.imshow(picture)
            axes.axis("off")
    return figure


def _draw_curve(axes: Axes, name: str, points: Mapping[float, Sequence[float]], colour: str) -> ErrorbarContainer:
    places = sorted(points)
    means = np.array([np.mean(points[place]) for place in places])
    ends = np.array([[min(points[place]), max(points[place])] for place in places]).T
    return axes.errorbar(
        places,
        means,
        yerr=np.abs(ends - means),
        color=colour,
        marker="o",
        markersize=3.5,
        capsize=2.5,
        label=legend_label(name),
    )
