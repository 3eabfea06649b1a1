"""The result of an ablation: tables, a picture of the pairs, and one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from nas.report.inline import inline_svg
from nas.report.numbers import MEASURED, MISSING, multiply_adds, percent
from nas.report.page import templates
from nas.report.study_data import ablated
from nas.report.style import MUTED, SERIES_COLOURS, STYLE, WIDTH, legend_label, svg
from nas.report.table import Row, Table
from nas.system.files import write_text

MEASURES = ("mAP", "rank1", "detection_AP", "detection_recall")
SURE = 0.05
FIGURES = {
    "pairs": ("Runs", "The mAP (%) of each arm's networks; a line joins the runs of one seed, the bar is the mean."),
    "contrasts": (
        "Differences",
        "Mean difference in mAP (points) with its 95 % interval over seeds (thick) and over seeds and identities "
        "together (thin).",
    ),
    "trade-off": (
        "Search and detection",
        "Search mAP against detection AP (%): the mean of each arm's networks and their standard deviations.",
    ),
}

MARKS = "osD^v"
STILL = ("trade-off",)
"""Those that no script draws."""


def write_ablation_report(folder: Path, found: Mapping[str, Any], command: str = "") -> Path:
    """Writes `ablation.html` and its pictures, `plots/*.svg`. `found` is what `ablation.json` holds; `command` runs the
    best arm."""
    drawn = {"pairs": pairs(found), "contrasts": differences(found), "trade-off": trade_off(found)}
    figures: list[tuple[str, Any, str]] = []
    still: list[tuple[str, Any, str]] = []
    for name, figure in drawn.items():
        if figure is not None:
            text, (title, caption) = svg(figure), FIGURES[name]
            (still if name in STILL else figures).append((title, inline_svg(text, name, title), caption))
            write_text(folder / "plots" / f"{name}.svg", text)
    tables = {"Arms": arms_table(found), "Contrasts": contrasts_table(found.get("contrasts", []))}
    page = (
        templates()
        .get_template("ablation.html")
        .render(
            found=found,
            tables=tables,
            figures=figures,
            still=still,
            verdict=verdict(found),
            command=command,
            data={"arms": ablated(found)},
        )
    )
    return write_text(folder / "ablation.html", page)


def arms_table(found: Mapping[str, Any]) -> Table:
    """Of each network mean and standard deviation over its seeds, in percent."""
    arms = found.get("arms", [])
    measures = _measures(arms)
    macs = multiply_adds.column([arm["multiply_adds"] for arm in arms])
    rows = [
        Row((arm["name"], str(len(arm["seeds"])), *(_mean(arm.get(key)) for key in measures), cost))
        for arm, cost in zip(arms, macs, strict=True)
    ]
    return Table(("network", "seeds", *(MEASURED[key][0] for key in measures), "MACs"), tuple(rows))


def contrasts_table(contrasts: Sequence[Mapping[str, Any]]) -> Table:
    """Paired differences in points, the primary one first."""
    columns = (
        "contrast",
        "measure",
        "pairs",
        "difference",
        "95 % seeds",
        "and identities",
        "p",
        "p (Holm)",
        "at equal MACs",
    )
    rows = [
        Row(_contrast_cells(contrast, key), best=contrast["primary"] and key == "mAP")
        for contrast in contrasts
        for key in _measures([contrast])
    ]
    return Table((*columns, "pairs for 80 %"), tuple(rows), text=("measure",))


def verdict(found: Mapping[str, Any]) -> str:
    """The primary contrast in a sentence, or how many runs are still to come."""
    trials = found["trials"]
    if not found.get("contrasts"):
        ended = f"{trials['done']} of {trials['planned']} runs have ended"
        return f"{ended}. The arms are shown when all have, or with --peek."
    primary = found["contrasts"][0]
    name, facts, num_pairs = f"{primary['first']} minus {primary['second']}", primary["mAP"], len(primary["seeds"])
    so_far = ""
    if not found["complete"]:
        so_far += f" So far, {trials['done']} of {trials['planned']} runs: a look decides nothing."
    if found["failed"]:
        so_far += f" {len(found['failed'])} of the runs diverged and are left out with their pairs."
    if facts.get("p") is None:
        return f"{name}: {num_pairs} pair{'s' * (num_pairs != 1)}, too few for a p-value: take 2 seeds or more.{so_far}"
    shown = "a difference" if facts["p_holm"] < SURE else "no difference is shown"
    needed = facts["pairs_needed"]
    more = "" if facts["p_holm"] < SURE or needed is None else f"; a difference of this size would need {needed} pairs"
    return (
        f"{name}: {_points(facts['mean'])} mAP ({_range(facts['interval'])}; {num_pairs} pairs, "
        f"p = {_p(facts['p'])}, after Holm's correction {_p(facts['p_holm'])}): {shown}{more}.{so_far}"
    )


def pairs(found: Mapping[str, Any]) -> Figure | None:
    """The mAP of every network, a column for each arm and a line for each seed."""
    arms = found.get("arms", [])
    if not arms:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        values = [dict(zip(arm["seeds"], arm["mAP"]["values"], strict=True)) for arm in arms]
        for seed in sorted({seed for each in values for seed in each}):
            points = [(place, 100 * each[seed]) for place, each in enumerate(values) if seed in each]
            axes.plot(*zip(*points, strict=True), color=MUTED, linewidth=0.5, alpha=0.5)
        for place, (each, colour) in enumerate(zip(values, cycle(SERIES_COLOURS), strict=False)):
            axes.plot([place] * len(each), [100 * value for value in each.values()], "o", markersize=4, color=colour)
            axes.hlines(100 * np.mean(list(each.values())), place - 0.2, place + 0.2, colors=colour, linewidth=2.5)
        axes.set_xticks(range(len(arms)), [arm["name"] for arm in arms], rotation=15, ha="right")
        axes.set(ylabel="mAP (%)", xlim=(-0.5, len(arms) - 0.5))
        return figure


def differences(found: Mapping[str, Any]) -> Figure | None:
    """Each contrast's mean difference with its intervals."""
    shown = [contrast for contrast in found.get("contrasts", []) if contrast["mAP"].get("interval")]
    if not shown:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.45 * len(shown)), layout="constrained")
        axes = figure.subplots()
        for place, contrast in enumerate(reversed(shown)):
            facts, colour = contrast["mAP"], SERIES_COLOURS[1 if contrast["primary"] else 0]
            for key, width in (("joint_interval", 1), ("interval", 3)):
                axes.plot([100 * end for end in facts[key]], [place, place], color=colour, linewidth=width)
            axes.plot(100 * facts["mean"], place, "o", color=colour, markersize=6)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        names = [f"{contrast['first']} − {contrast['second']}" for contrast in reversed(shown)]
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlabel="difference in mAP (points)", ylim=(-0.6, len(shown) - 0.4))
        return figure


def trade_off(found: Mapping[str, Any]) -> Figure | None:
    """The mAP of each arm over its detection AP, where all detect people."""
    arms = found.get("arms", [])
    if not arms or not all("detection_AP" in arm for arm in arms):
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots()
        looks = ((mark, colour) for mark in cycle(MARKS) for colour in SERIES_COLOURS)
        for arm, (mark, colour) in zip(arms, looks, strict=False):
            across, up = arm["detection_AP"], arm["mAP"]
            place = 100 * across["mean"], 100 * up["mean"]
            wide, high = (100 * (each["sd"] or 0.0) for each in (across, up))
            name = legend_label(arm["name"])
            axes.errorbar(*place, yerr=high, xerr=wide, fmt=mark, color=colour, elinewidth=0.8, label=name)
        axes.set(xlabel="detection AP (%)", ylabel="search mAP (%)")
        figure.legend(loc="outside right upper", fontsize=8)
        return figure


def _measures(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that any of the networks or contrasts has."""
    return [key for key in MEASURES if any(key in each for each in found)]


def _contrast_cells(contrast: Mapping[str, Any], key: str) -> tuple[str, ...]:
    facts = contrast[key]
    name = f"{contrast['first']} - {contrast['second']}" + " (primary)" * contrast["primary"]
    equal = facts.get("at_equal_macs")
    needed = facts.get("pairs_needed", MISSING)
    return (
        name,
        MEASURED[key][0],
        str(len(contrast["seeds"])),
        MISSING if facts["mean"] is None else _points(facts["mean"]),
        _range(facts.get("interval")),
        _range(facts.get("joint_interval")),
        _p(facts.get("p")),
        _p(facts.get("p_holm")),
        f"{_points(equal['mean'])} (p {_p(equal['p'])})" if equal else MISSING,
        "over 10,000" if needed is None else str(needed),
    )


def _mean(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return MISSING
    spread = "" if facts["sd"] is None else f" ± {percent(facts['sd'])}"
    return f"{percent(facts['mean'])}{spread}"


def _points(share: float) -> str:
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _range(ends: Sequence[float] | None) -> str:
    return MISSING if ends is None else f"{_points(ends[0])} to {_points(ends[1])}"


def _p(value: float | None) -> str:
    return MISSING if value is None else "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
