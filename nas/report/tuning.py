"""The report of a study: Optuna's plots of what each parameter does to the mAP, and one HTML file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import matplotlib.style
from matplotlib import RcParams, pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from nas.report.inline import inline_svg
from nas.report.numbers import percent
from nas.report.page import templates
from nas.report.search_data import OPERATIONS
from nas.report.study_data import tuned
from nas.report.style import FILLS, INK, MUTED, SERIES_COLOURS, SMALL, STYLE, WIDTH, log_ticks, svg
from nas.report.table import Table
from nas.system.files import write_text

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState

COLOURS = LinearSegmentedColormap.from_list("mAP", ["#d9e8f5", "#56a0d3", "#0b3c6e"])
LINE_COLOURS = LinearSegmentedColormap.from_list("mAP of a line", ["#7b93a8", "#a8847a", "#d55e00"])
"""Of lines, which have to be seen on white and on a dark page alike."""
EVERY, BEST = SERIES_COLOURS[:2]
MOST_PARAMETERS = 10
"""The most important ones are drawn: an architecture alone may have dozens."""
LONGEST_NAME = 24


def history(study: Study, names: Sequence[str]) -> Figure:
    """The mAP (%) of the trials in the order in which they began, and the best so far; hollow: pruned on the way."""
    from optuna.trial import TrialState
    from optuna.visualization.matplotlib import plot_optimization_history

    axes: Any = plot_optimization_history(in_plot_units(study), target_name="complete")
    axes.collections[0].set(color=EVERY, sizes=[25])
    axes.lines[0].set(color=BEST, alpha=1, linewidth=1.2, drawstyle="steps-post", label="best so far")
    if pruned := _trials(study, TrialState.PRUNED):
        points = [(trial.number, values_of(trial)[0]) for trial in pruned]
        axes.scatter(*zip(*points, strict=True), s=25, facecolors="none", edgecolors=MUTED, label="pruned")
    axes.set(xlabel="trial", ylabel="mAP (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    axes.figure.set_layout_engine("constrained")
    return axes.figure


def importance(study: Study, names: Sequence[str]) -> Figure | None:
    """The share of each parameter in how the mAP varies (PED-ANOVA)."""
    from optuna.visualization.matplotlib import plot_param_importances

    if not names:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that trials are few
        axes: Any = plot_param_importances(in_plot_units(study), target_name="mAP")
    num_bars = len(axes.patches)
    num_drawn = min(num_bars, MOST_PARAMETERS)
    axes.figure.set_figheight(0.9 + 0.28 * num_drawn)
    axes.set(xlabel="importance", ylabel="", ylim=(num_bars - num_drawn - 0.5, num_bars - 0.5))
    for bar, text in zip(axes.patches, axes.texts, strict=True):
        bar.set(color=EVERY)
        text.set(fontsize=8, clip_on=True, text=f"\N{NO-BREAK SPACE}{text.get_text()}")
    axes.get_legend().remove()
    axes.grid(visible=False, axis="y")
    return axes.figure


def contour(study: Study, names: Sequence[str]) -> Figure | None:
    """The mAP (%) over the two most important parameters, between the trials interpolated; star: the best trial."""
    from optuna.visualization.matplotlib import plot_contour

    shown = in_plot_units(study)
    names = [name for name in names if name in shown.best_trial.params][:2]
    if len(names) < 2 or len({values_of(trial)[0] for trial in _trials(study)}) < 2:
        return None
    axes: Any = plot_contour(shown, params=names, target_name="mAP (%)")
    lines, areas, points, *_ = axes.collections
    lines.set_alpha(0.3)
    areas.set_cmap(COLOURS)
    points.set(facecolor="white", edgecolor="black", linewidth=0.8)
    best = shown.best_trial.params
    x, y = (_place(best[axis.get_label_text()], axis.get_ticklabels()) for axis in (axes.xaxis, axes.yaxis))
    axes.plot(x, y, "*", color=BEST, markersize=13, markeredgecolor="white", zorder=4)
    _plain_ticks(axes)
    return axes.figure


def parallel(study: Study, names: Sequence[str]) -> Figure | None:
    """A line for each complete trial from its mAP (%) through its parameters; the more orange, the better."""
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    if not names:
        return None
    axes: Any = plot_parallel_coordinate(in_plot_units(study), params=list(names), target_name="mAP (%)")
    axes.figure.set_size_inches(WIDTH, 4.2)
    axes.collections[0].set(cmap=LINE_COLOURS, linewidth=1.3)
    labels = [name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}" for name in sorted(names)]
    axes.set_xticks(range(len(names) + 1), ["mAP (%)", *labels], rotation=20, ha="right", color=INK)
    for each in axes.figure.axes:
        each.grid(visible=False)
        each.spines["right"].set(visible=True, color=MUTED)
        _plain_ticks(each)
        for label in each.get_yticklabels():
            label.set(color=INK, bbox={"facecolor": FILLS["node"], "alpha": 0.75, "edgecolor": "none", "pad": 0.6})
    return axes.figure


def pareto_front(study: Study, names: Sequence[str]) -> Figure | None:
    """The mAP (%) of the complete trials against their MACs; those of the front carry their numbers."""
    from optuna.visualization.matplotlib import plot_pareto_front

    shown = in_plot_units(study, num_objectives=2)
    if len({values_of(trial)[1] for trial in _trials(study)}) < 2:
        return None
    axes: Any = plot_pareto_front(shown, targets=lambda trial: trial.values[::-1], target_names=["MACs (M)", "mAP (%)"])
    *others, best = axes.collections
    for points in others:
        points.set(facecolor="none", edgecolor=MUTED, sizes=[25])
    best.set(color=EVERY, sizes=[30])
    front = sorted(shown.best_trials, key=lambda trial: trial.values[1])
    places = [trial.values[::-1] for trial in front]
    axes.plot(*zip(*places, strict=True), color=EVERY, linewidth=1)
    for trial, place in zip(front, places, strict=True):
        axes.annotate(str(trial.number), place, (0, 6), textcoords="offset points", fontsize=8, ha="center", color=INK)
    axes.get_legend().remove()
    axes.margins(0.1)
    return axes.figure


PLOTS: dict[str, tuple[str, Callable[[Study, Sequence[str]], Figure | None]]] = {
    "importances": ("What the mAP depends on", importance),
    "contour": ("The two most important parameters", contour),
    "parallel": ("All parameters", parallel),
    "pareto": ("Accuracy against cost", pareto_front),
    "history": ("One trial after the other", history),
}
"""Each is given the study and the parameters that `most_important` names."""


def write_tuning_report(folder: Path, found: dict[str, Any], table: Table, study: Study) -> Path:
    """Writes `tuning.html` and its pictures, `plots/*.svg`; a picture with nothing to show is left out.

    `found` is what `trials.json` holds of the study, `table` what is shown of it.
    """
    figures = []
    for name, figure in draw(study, found["importances"]).items():
        title, plot = PLOTS[name]
        text = svg(figure)
        figures.append((title, inline_svg(text, name, title), (plot.__doc__ or "").partition("\n")[0]))
        write_text(folder / "plots" / f"{name}.svg", text)
    page = (
        templates()
        .get_template("tuning.html")
        .render(found=found, table=table, figures=figures, finding=finding(found), data=_data(found, folder))
    )
    return write_text(folder / "tuning.html", page)


def _data(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the page's script draws."""
    return {"operations": OPERATIONS, "study": tuned(found, folder)}


def draw(study: Study, importances: Mapping[str, float]) -> dict[str, Figure]:
    """The figures of `PLOTS` that have something to show, by name, in the house style."""
    if not _trials(study):
        return {}
    names = most_important(study, importances)
    with _house_style():
        drawn = {name: plot(study, names) for name, (_, plot) in PLOTS.items()}
    figures = {name: figure for name, figure in drawn.items() if figure}
    for figure in figures.values():
        pyplot.close(figure)
        for axes in figure.axes:
            axes.set_title("")
            axes.set_title("", loc="left")
    return figures


@contextmanager
def _house_style() -> Iterator[None]:
    """Optuna's plots take the style sheet "ggplot", in whose place ours stands, and warn that they are experimental."""
    from optuna.exceptions import ExperimentalWarning

    sheets, size = matplotlib.style.library, (SMALL[0] + 1, SMALL[1])
    style = RcParams(STYLE | {"figure.figsize": size, "figure.constrained_layout.use": True})
    ggplot = sheets["ggplot"]
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        warnings.simplefilter("ignore", ExperimentalWarning)
        sheets["ggplot"] = style
        try:
            yield
        finally:
            sheets["ggplot"] = ggplot


def most_important(study: Study, importances: Mapping[str, float]) -> list[str]:
    """The parameters that differ among the complete trials, the most important first."""
    names = sorted(importances, key=lambda name: -importances[name])
    values = {name: {trial.params.get(name) for trial in _trials(study)} for name in names}
    return [name for name in names if len(values[name]) > 1][:MOST_PARAMETERS]


def in_plot_units(study: Study, num_objectives: int = 1) -> Study:
    """A copy in memory whose objectives are mAP in percent and MACs in millions: Optuna draws values as they are."""
    import optuna

    directions: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"]
    copy = optuna.create_study(directions=directions[:num_objectives])
    for trial in study.get_trials(deepcopy=False):
        is_complete = trial.state == optuna.trial.TrialState.COMPLETE
        copy.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                params=trial.params,
                distributions=trial.distributions,
                values=values_of(trial)[:num_objectives] if is_complete else None,
            )
        )
    return copy


def values_of(trial: FrozenTrial) -> list[float]:
    """mAP in percent and MACs in millions of a trial that was measured."""
    score = trial.user_attrs["score"]
    return [100 * score["mAP"], score["multiply_adds"] / 1e6]


def _trials(study: Study, state: TrialState | None = None) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(state or TrialState.COMPLETE,))


def _place(value: Any, ticks: Sequence[Text]) -> float:
    """Where a value stands on an axis: Optuna numbers words, and writes them at the axis."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else [tick.get_text() for tick in ticks].index(str(value))


def _plain_ticks(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            log_ticks(axis)


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
    worth = f", and {front_size} are worth their MACs" if len(found["objectives"]) > 1 else ""
    return f"{sentence}{worth}."
