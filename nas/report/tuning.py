"""The report of a study: what each parameter does to the mAP, as pictures and one HTML file."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from nas.report.inline import inline_svg
from nas.report.page import templates
from nas.report.pareto import front
from nas.report.style import FILLS, INK, MUTED, SERIES_COLOURS, SMALL, STYLE, WIDTH, svg
from nas.report.table import Table, percent
from nas.system.files import write_text

COLOURS = LinearSegmentedColormap.from_list("mAP", ["#d9e8f5", "#56a0d3", "#0b3c6e"])
BEST = SERIES_COLOURS[1]
MOST_PARAMETERS = 10
"""The most important ones are drawn: an architecture alone may have dozens."""
LOGARITHMIC = 4.0  # an axis may be, whose ends are at least that many times apart
LONGEST_NAME = 24
LEVELS = 12


class Axis:
    """Where the values of one parameter stand: numbers on the scale that spreads them, words in order."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self.name = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
        self.is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        self.words = [] if self.is_number else sorted({str(value) for value in values})
        self.is_logarithmic = self.is_number and _is_logarithmic(values)
        self.places = [self.place(value) for value in values]
        different = sorted(set(values)) if self.is_number else self.words
        ticks = different if len(different) <= 6 else _round_ticks(different, self.is_logarithmic)
        self.ticks = [(self.place(tick), f"{tick:.4g}" if self.is_number else _short(tick)) for tick in ticks]

    def place(self, value: Any) -> float:
        if not self.is_number:
            return float(self.words.index(str(value)))
        return math.log10(value) if self.is_logarithmic else float(value)

    @property
    def span(self) -> tuple[float, float]:
        low, high = min(self.places), max(self.places)
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def _is_logarithmic(values: Sequence[float]) -> bool:
    """Whether the middle value is nearer to the geometric mean of the ends than to their arithmetic mean."""
    low, high, middle = min(values), max(values), float(np.median(values))
    return 0 < LOGARITHMIC * low <= high and abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2)


def _round_ticks(values: Sequence[float], logarithmic: bool) -> list[float]:
    if not logarithmic:
        ticks = MaxNLocator(4).tick_values(values[0], values[-1])
        return [float(tick) for tick in ticks if values[0] <= tick <= values[-1]]
    low, high = math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1]))
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 5)]
    inside = [tick for tick in ticks if values[0] <= tick <= values[-1]]
    return inside if len(inside) > 1 else [values[0], values[-1]]


def _short(word: str) -> str:
    return word if len(word) <= LONGEST_NAME else f"{word[: LONGEST_NAME - 1]}…"


def history(rows: Sequence[dict], *_: object) -> Figure | None:
    """The mAP (%) of the trials in the order in which they began, and the best so far; hollow: pruned on the way."""
    told = sorted((row for row in rows if row["mAP"] is not None), key=lambda row: row["trial"])
    complete = [row for row in told if row["state"] == "complete"]
    if not complete:
        return None
    figure, axes = _single()
    if pruned := [row for row in told if row["state"] == "pruned"]:
        axes.plot(
            [row["trial"] for row in pruned],
            [100 * row["mAP"] for row in pruned],
            "o",
            markersize=5,
            markerfacecolor="none",
            markeredgecolor=MUTED,
            label="pruned",
        )
    axes.plot(
        [row["trial"] for row in complete],
        [100 * row["mAP"] for row in complete],
        "o",
        markersize=5,
        color=SERIES_COLOURS[0],
        label="complete",
    )
    axes.step(
        [row["trial"] for row in complete],
        np.maximum.accumulate([100 * row["mAP"] for row in complete]),
        where="post",
        color=BEST,
        linewidth=1.2,
        label="best so far",
    )
    axes.set(xlabel="trial", ylabel="mAP (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return figure


def importance(_: object, importances: dict[str, float]) -> Figure | None:
    """The share of each parameter in how the mAP varies."""
    drawn = _important(importances)
    if not drawn:
        return None
    figure, axes = _single(height=0.9 + 0.28 * len(drawn))
    shares = [importances[name] for name in drawn]
    axes.barh(range(len(drawn)), shares, color=SERIES_COLOURS[0], height=0.6)
    for place, share in enumerate(shares):
        axes.text(share, place, f" {100 * share:.0f} %", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(drawn)), [Axis(name, [0]).name for name in drawn])
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.15 * max(shares), 1e-9))
    axes.set_xlabel("importance")
    axes.grid(visible=False, axis="y")
    return figure


def contour(rows: Sequence[dict], importances: dict[str, float]) -> Figure | None:
    """The mAP (%) over the two most important parameters, between the trials interpolated; star: the best trial."""
    complete, names = _complete(rows, importances)
    if len(names) < 2:
        return None
    figure, axes = _single()
    x, y = (Axis(name, [row["params"][name] for row in complete]) for name in names[:2])
    accuracy = [100 * row["mAP"] for row in complete]
    triangles = _triangles(x.places, y.places)
    if triangles is not None and len(set(accuracy)) > 1:
        means = [
            np.mean([a for a, *place in zip(accuracy, x.places, y.places, strict=True) if tuple(place) == point])
            for point in zip(triangles.x, triangles.y, strict=True)
        ]
        axes.tricontourf(triangles, means, levels=LEVELS, cmap=COLOURS)
    points = axes.scatter(x.places, y.places, c=accuracy, cmap=COLOURS, s=26, edgecolors=INK, linewidths=0.6, zorder=3)
    best = int(np.argmax(accuracy))
    axes.plot(x.places[best], y.places[best], "*", color=BEST, markersize=13, markeredgecolor="white", zorder=4)
    axes.set_xticks(*zip(*x.ticks, strict=True))
    axes.set_yticks(*zip(*y.ticks, strict=True))
    axes.set(xlabel=x.name, ylabel=y.name)
    axes.set(xlim=_padded(x), ylim=_padded(y))
    figure.colorbar(points, label="mAP (%)")
    return figure


def _padded(axis: Axis) -> tuple[float, float]:
    low, high = axis.span
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _triangles(x: Sequence[float], y: Sequence[float]) -> Triangulation | None:
    """Of the different points; None where they are fewer than three or in a line."""
    points = np.array(sorted(set(zip(x, y, strict=True))))
    if len(points) < 3 or np.linalg.matrix_rank(points - points[0], tol=1e-9) < 2:
        return None
    return Triangulation(*points.T)


def parallel(rows: Sequence[dict], importances: dict[str, float]) -> Figure | None:
    """A line for each complete trial through its parameters to its mAP (%); the darker, the better."""
    complete, names = _complete(rows, importances)
    if not names or len(complete) < 2:
        return None
    complete = sorted(complete, key=lambda row: row["mAP"])
    axes_of = [Axis(name, [row["params"][name] for row in complete]) for name in names]
    accuracy = Axis("mAP (%)", [100 * row["mAP"] for row in complete])
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    heights = np.array([_heights(axis) for axis in (*axes_of, accuracy)])
    norm = Normalize(*accuracy.span)
    for trial, place in enumerate(accuracy.places):
        axes.plot(heights[:, trial], color=COLOURS(0.15 + 0.85 * norm(place)), linewidth=1.3, alpha=0.85)
    for column, axis in enumerate((*axes_of, accuracy)):
        _draw_axis(axes, column, axis)
    slanted = {"rotation": 20, "ha": "right"} if len(heights) > 6 else {}
    axes.set_xticks(range(len(heights)), [axis.name for axis in (*axes_of, accuracy)], color=INK, **slanted)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.set(xlim=(-0.1, len(heights) - 0.6), ylim=(-0.05, 1.05))
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _heights(axis: Axis) -> np.ndarray:
    low, high = axis.span
    return (np.array(axis.places) - low) / (high - low)


def _draw_axis(axes: Axes, column: int, axis: Axis) -> None:
    low, high = axis.span
    axes.plot([column, column], [0, 1], color=MUTED, linewidth=0.8, zorder=0)
    for place, text in axis.ticks:
        axes.text(
            column + 0.03,
            (place - low) / (high - low),
            text,
            fontsize=7.5,
            color=INK,
            va="center",
            bbox={"facecolor": FILLS["node"], "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )


def pareto_front(rows: Sequence[dict], *_: object) -> Figure | None:
    """The mAP (%) of the complete trials against their multiply-adds; those of the front carry their numbers."""
    complete = [row for row in rows if row["state"] == "complete"]
    points = np.array([(row["multiply_adds"] / 1e6, 100 * row["mAP"]) for row in complete])
    if len({row["multiply_adds"] for row in complete}) < 2:
        return None
    best = front(*points.T)
    figure, axes = _single()
    axes.plot(*points[~best].T, "o", markersize=5, markerfacecolor="none", markeredgecolor=MUTED)
    order = np.flatnonzero(best)[np.argsort(points[best][:, 0], kind="stable")]
    axes.plot(*points[order].T, "o-", color=SERIES_COLOURS[0], markersize=5.5, linewidth=1)
    for place in order:
        axes.annotate(
            str(complete[place]["trial"]),
            points[place],
            xytext=(0, 6),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            color=INK,
        )
    axes.set(xlabel="multiply-adds (M)", ylabel="mAP (%)")
    axes.margins(0.1)
    return figure


PLOTS: dict[str, tuple[str, Callable[[Sequence[dict], dict[str, float]], Figure | None]]] = {
    "importances": ("What the mAP depends on", importance),
    "contour": ("The two most important parameters", contour),
    "parallel": ("All parameters", parallel),
    "pareto": ("Accuracy against cost", pareto_front),
    "history": ("One trial after the other", history),
}


def write_tuning_report(folder: Path, found: dict[str, Any], table: Table) -> Path:
    """Writes `tuning.html` and its pictures, `plots/*.svg`; a picture with nothing to show is left out.

    `found` is what `trials.json` holds, `table` what is shown of it.
    """
    figures = []
    for name, (title, plot) in PLOTS.items():
        with matplotlib.rc_context(STYLE):
            figure = plot(found["trials"], found["importances"])
        if figure:
            text = svg(figure)
            figures.append((title, inline_svg(text, name, title), plot.__doc__.partition("\n")[0]))
            write_text(folder / "plots" / f"{name}.svg", text)
    page = (
        templates()
        .get_template("tuning.html")
        .render(found=found, table=table, figures=figures, finding=finding(found))
    )
    return write_text(folder / "tuning.html", page)


def finding(found: dict[str, Any]) -> str:
    """The study in one sentence."""
    complete = [row for row in found["trials"] if row["state"] == "complete"]
    if not complete:
        return "No trial is complete yet."
    best = max(complete, key=lambda row: row["mAP"])
    front_size = sum(row["best"] for row in complete)
    sentence = (
        f"Of {len(complete)} complete trials, number {best['trial']} is the most accurate: mAP {percent(best['mAP'])}"
    )
    worth = f", and {front_size} are worth their multiply-adds" if len(found["objectives"]) > 1 else ""
    return f"{sentence}{worth}."


def _single(height: float = SMALL[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SMALL[0] + 1, height), layout="constrained")
    return figure, figure.subplots()


def _important(importances: dict[str, float]) -> list[str]:
    return sorted(importances, key=lambda name: -importances[name])[:MOST_PARAMETERS]


def _complete(rows: Sequence[dict], importances: dict[str, float]) -> tuple[list[dict], list[str]]:
    """The complete trials, and the most important parameters that all of them have and that differ among them."""
    complete = [row for row in rows if row["state"] == "complete"]
    return complete, [
        name
        for name in _important(importances)
        if all(name in row["params"] for row in complete) and len({row["params"][name] for row in complete}) > 1
    ]
