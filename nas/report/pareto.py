"""Accuracy against cost: which networks are worth their price."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas.metrics.front import front
from nas.report.scripts import shortened
from nas.report.style import (
    INK,
    MUTED,
    PAPER,
    SERIES_COLOURS,
    STYLE,
    WIDTH,
    legend_label,
    log_ticks,
    percent_axis,
)
from nas.report.timing import conditions_of

MS = "ms_per_image_1"
COSTS = {"multiply_adds": ("MACs (M)", 1e6), MS: ("ms per image, batch 1", 1.0)}
MARKERS = "os^DvpP"  # not as many as colours, so that more networks than either look different
HEIGHT, HEIGHT_PER_LINE = 4.2, 0.17  # inches


def pareto(rows: Sequence[dict]) -> Figure | None:
    """mAP (%) against each cost (logarithmic) that a row knows; None if no row has an accuracy and a cost.

    `rows` are those of `metrics.json` or `compare.json`; the latter's intervals over identities are drawn as bars.
    Filled points are on the front, which a line connects; the others have a hollow marker. A legend beside the plot
    has the names, the most accurate first.
    """
    panels = _panels(rows)
    if not panels:
        return None
    looks = {row["name"]: _look(number) for number, row in enumerate(rows)}
    shown = {row["name"]: row["mAP"] for known in panels.values() for row in known}
    with matplotlib.rc_context(STYLE):
        names = sorted(shown, key=lambda name: -shown[name])
        labels = [legend_label(name) for name in names]
        num_lines = sum(label.count("\n") + 1 for label in labels)
        size = WIDTH if len(panels) > 1 else WIDTH * 2 / 3, max(HEIGHT, HEIGHT_PER_LINE * (num_lines + 2))
        figure = Figure(figsize=size, layout="constrained")
        for axes, (key, known) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            _draw_panel(axes, key, known, looks)
        handles = [Line2D([], [], linestyle="none", **looks[name]) for name in names]
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, labelcolor=INK)
    return figure


def cost_data(rows: Sequence[dict]) -> list[dict[str, Any]]:
    """The same plots as a page's script takes them; none where `pareto` draws none."""
    places = {row["name"]: place for place, row in enumerate(rows)}
    return [
        {
            "title": _title(key, known).replace("\n", ", "),
            "points": [
                {
                    "name": row["name"],
                    "place": places[row["name"]],
                    "cost": shortened(cost),
                    "mAP": shortened(accuracy),
                    "interval": [shortened(end) for end in _interval(row)],
                    "front": bool(on_front),
                }
                for row, (cost, accuracy), on_front in zip(known, *_points(key, known), strict=True)
            ],
        }
        for key, known in _panels(rows).items()
    ]


def _panels(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """By cost the rows that have it and an accuracy, where there are any."""
    panels = {
        key: [row for row in rows if _is_number(row.get("mAP")) and _is_number(row.get(key)) and row[key] > 0]
        for key in COSTS
    }
    return {key: known for key, known in panels.items() if known}


def _title(key: str, rows: Sequence[dict]) -> str:
    title = COSTS[key][0]
    if key == MS and len(conditions := conditions_of(rows)) == 1:
        title += f"\n{conditions[0].split(', ')[0]}"
    return title


def _points(key: str, rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Cost in its unit and mAP (%) of each row `[N, 2]`, and whether it is on the front `[N]`."""
    points = np.array([(row[key] / COSTS[key][1], 100 * row["mAP"]) for row in rows])
    return points, front(*points.T)


def _interval(row: dict) -> list[float]:
    """The ends (%) of that of its mAP over identities; none where it is not known."""
    return [100 * end for end in row.get("intervals", {}).get("mAP", {}).get("identities") or ()]


def _look(number: int) -> dict[str, Any]:
    """The marker of the row with that number."""
    return {
        "marker": MARKERS[number % len(MARKERS)],
        "color": SERIES_COLOURS[number % len(SERIES_COLOURS)],
        "markersize": 7,
        "markeredgewidth": 1.4,
    }


def _draw_panel(axes: Axes, key: str, rows: Sequence[dict], looks: dict[str, dict[str, Any]]) -> None:
    points, best = _points(key, rows)
    order = np.flatnonzero(best)[np.argsort(points[best][:, 0], kind="stable")]
    axes.plot(*points[order].T, color=MUTED, linewidth=1, zorder=1)
    for row, (cost, accuracy), on_front in zip(rows, points, best, strict=True):
        look = looks[row["name"]]
        if interval := _interval(row):
            axes.plot([cost, cost], interval, "_-", color=look["color"], linewidth=1.2, markersize=5, zorder=2)
        axes.plot(cost, accuracy, **look, markerfacecolor=look["color"] if on_front else PAPER, zorder=3)
    axes.set_xscale("log")
    axes.set(xlabel=_title(key, rows), ylabel="mAP (%)")
    axes.margins(x=0.08, y=0.08)
    percent_axis(axes)
    log_ticks(axes.xaxis)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
