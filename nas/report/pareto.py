"""Accuracy against cost: which networks are worth their price."""

import math
from collections.abc import Sequence
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullLocator

from nas.report.style import INK, MUTED, SERIES_COLOURS, STYLE, WIDTH

COSTS = {"multiply_adds": ("MACs (M)", 1e6), "ms_per_image_1": ("ms per image, batch 1", 1.0)}
TICKS = ((200, (1,)), (10, (1, 2, 5)), (0, (1, 1.5, 2, 3, 4, 5, 6, 8)))  # where the axis spans more than that ratio
MARKERS = "os^DvpP"  # not as many as colours, so that more networks than either look different
LONGEST_NAME = 30
MARKER_SIZE = 7
GAP = 3.0  # between a marker and its label, points
RINGS = (1.0, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0)  # distances at which a label is tried, in gaps


def front(costs: Sequence[float], accuracies: Sequence[float]) -> np.ndarray:
    """A mask `[N]` of the points that no other beats: none costs as little and is as accurate, and better in one."""
    cost, accuracy = np.asarray(costs, dtype=float), np.asarray(accuracies, dtype=float)
    no_worse = (cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)
    better = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return ~(no_worse & better).any(axis=0)


def pareto(rows: Sequence[dict]) -> Figure | None:
    """mAP (%) against each cost (logarithmic) that a row knows; None if no row has an accuracy and a cost.

    `rows` are those of `metrics.json` or `compare.json`; the latter's intervals over identities are drawn as bars.
    Filled points are on the front, which a line connects; the others have a hollow marker.
    """
    panels = {
        key: [row for row in rows if _is_number(row.get("mAP")) and _is_number(row.get(key)) and row[key] > 0]
        for key in COSTS
    }
    panels = {key: known for key, known in panels.items() if known}
    if not panels:
        return None
    looks = {row["name"]: number for number, row in enumerate(rows)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if len(panels) > 1 else WIDTH / 2, 4.2), layout="constrained")
        for axes, (key, known) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            _draw_panel(axes, key, known, looks)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are fitted to where the points are now
        for axes, (key, known) in zip(figure.axes, panels.items(), strict=True):
            _place_labels(axes, key, known, looks)
    return figure


def _draw_panel(axes: Axes, key: str, rows: Sequence[dict], looks: dict[str, int]) -> None:
    title, unit = COSTS[key]
    points = np.array([(row[key] / unit, 100 * row["mAP"]) for row in rows])
    best = front(*points.T)
    order = np.flatnonzero(best)[np.argsort(points[best][:, 0], kind="stable")]
    axes.plot(*points[order].T, color=MUTED, linewidth=1, zorder=1)
    for row, (cost, accuracy), on_front in zip(rows, points, best, strict=True):
        number, interval = looks[row["name"]], _interval(row)
        colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
        if interval:
            axes.plot([cost, cost], interval, "_-", color=colour, linewidth=1.2, markersize=MARKER_SIZE - 2, zorder=2)
        axes.plot(
            cost,
            accuracy,
            MARKERS[number % len(MARKERS)],
            markersize=MARKER_SIZE,
            markeredgecolor=colour,
            markerfacecolor=colour if on_front else "white",
            markeredgewidth=1.4,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set(xlabel=title, ylabel="mAP (%)")
    axes.margins(x=0.22, y=0.14)
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=next(subs for wide, subs in TICKS if right > wide * left)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _place_labels(axes: Axes, key: str, rows: Sequence[dict], looks: dict[str, int]) -> None:
    """Names each point where its label covers no other label, marker or line, and as near as that allows."""
    to_points = 72 / axes.figure.dpi
    inside = axes.get_window_extent().get_points().reshape(1, 4) * to_points
    taken = [np.empty((0, 4))]
    for line in axes.lines:
        corners = axes.transData.transform(line.get_xydata()) * to_points
        taken += [_around(corners, MARKER_SIZE)] if line.get_marker() != "None" else []
        taken += [_along(*ends) for ends in pairwise(corners)]
    for row in rows:
        label = _label(axes, row, key, SERIES_COLOURS[looks[row["name"]] % len(SERIES_COLOURS)])
        spot, extent = axes.transData.transform(label.xy) * to_points, label.get_window_extent()
        size = np.array([extent.width, extent.height]) * to_points
        places = [
            np.concatenate([_around(centre[None], size), _leader(spot, centre, size)])
            for centre in _centres(spot, size)
        ]
        everything = np.concatenate(taken)
        place = min(places, key=lambda boxes: _cost(boxes, everything, inside))
        taken.append(place)
        label.set_position(place[0, :2] - spot)
        label.arrow_patch.set_visible(len(place) > 1)


def _label(axes: Axes, row: dict, key: str, colour: str) -> Annotation:
    name = row["name"] if len(row["name"]) <= LONGEST_NAME else f"{row['name'][: LONGEST_NAME - 1]}…"
    line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": MARKER_SIZE / 2}
    point = row[key] / COSTS[key][1], 100 * row["mAP"]
    return axes.annotate(
        name,
        point,
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=8,
        color=INK,
        arrowprops=line,
        annotation_clip=False,
        va="bottom",
        ha="left",
    )


def _centres(spot: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Where a label may stand, `[N, 2]`, the nearest first: right, left, above, below, then the corners."""
    sides = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)])
    return np.concatenate([spot + sides * (size / 2 + MARKER_SIZE / 2 + GAP * ring) for ring in RINGS])


def _leader(spot: np.ndarray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The line from a point to its label, as small boxes; a label beside its point needs none."""
    away = np.hypot(*np.maximum(abs(centre - spot) - size / 2, 0))
    return _along(spot, centre)[MARKER_SIZE:] if away > MARKER_SIZE / 2 + 2 * GAP else np.empty((0, 4))


def _along(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A line as small boxes `[N, 4]`, one each point (1/72 inch)."""
    steps = np.linspace(0, 1, max(2, int(np.hypot(*(end - start)))))[:, None]
    return _around(start + steps * (end - start), 1.5)


def _around(centres: np.ndarray, size: np.ndarray | float) -> np.ndarray:
    """Boxes `[N, 4]` (left, bottom, right, top)."""
    return np.hstack([centres - size / 2, centres + size / 2])


def _cost(place: np.ndarray, taken: np.ndarray, inside: np.ndarray) -> float:
    """What is wrong with a place: what it covers, what lies outside of the plot, and the length of its line."""
    outside = (place[0, 2:] - place[0, :2]).prod() - _cover(place[:1], inside)
    return 4 * _cover(place, taken) + 10 * outside + len(place)


def _cover(boxes: np.ndarray, others: np.ndarray) -> float:
    """The area (square points) that they share, summed over all pairs."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return float(np.maximum(high - low, 0).prod(axis=2).sum())


def _interval(row: dict) -> list[float] | None:
    ends = row.get("intervals", {}).get("mAP", {}).get("identities")
    return ends and [100 * end for end in ends]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
