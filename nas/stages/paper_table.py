"""The rows of `nas reproduce` as they are shown: what the paper prints beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nas.report.numbers import MISSING, general, millions, multiply_adds, percent
from nas.report.table import Row, Table

METRICS = {"rank1": "rank-1", "mAP": "mAP"}
FURTHER = {"rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20"}
DETECTION = {"detection_AP": "detection AP", "detection_recall": "recall"}
"""Columns of a table whose paper has them."""

COUNTS = {
    "parameters": (millions, {"parameters paper": "", "as counted": "parameters_as_paper"}),
    "minutes": (general, {"minutes paper": "", "minutes measured": "minutes"}),
    "multiply_adds": (multiply_adds, {"MACs paper": ""}),
}
"""By what a paper prints of a network beside its accuracy: how it is written, and the columns, each with the key of the
runs' number, and empty for the paper's. `COSTS` has ours for the rest."""
COSTS = {"parameters": millions, "multiply_adds": multiply_adds}


def result_tables(results: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The rows as they are shown: paper against measured, and those that have others beside them."""
    beside = rows_side_by_side(results)
    return [paper_against_measured(results), *([beside] if beside else [])]


def paper_against_measured(results: Sequence[Mapping[str, Any]]) -> Table:
    """Percent; of several seeds the mean and the lowest and highest, and below each run beside one of the paper's where
    that has them. Parameters beside the paper's are counted as the paper does."""
    further, detection = (
        {key: label for key, label in labels.items() if any(key in result["paper"] for result in results)}
        for labels in (FURTHER, DETECTION)
    )
    metrics = {"rank1": METRICS["rank1"], **further, "mAP": METRICS["mAP"], **detection}
    columns = [f"{label} {whose}" for label in metrics.values() for whose in ("paper", "measured")]
    counts = [key for key in COUNTS if any(key in result["paper"] for result in results)]
    costs = [
        text.column([result["runs"][0].get(key) if result["runs"] else None for result in results])
        for key, text in COSTS.items()
    ]
    rows = []
    for result, *cost in zip(results, *costs, strict=True):
        reason = f" (same as {result['same_as']})" if result["same_as"] else " (no data)" if result["not_run"] else ""
        rows.append(Row((result["name"] + reason, *_beside(result["paper"], result["runs"], metrics, counts), *cost)))
        if len(result["runs"]) > 1:
            rows += [
                Row((f"{result['name']}, run {number}", *_beside(paper, runs, metrics, counts), *[""] * len(cost)))
                for number, (paper, *runs) in enumerate(
                    zip(result["paper_runs"], result["runs"], strict=False), start=1
                )
            ]
    heads = [head for key in counts for head in COUNTS[key][1]]
    return Table(("network", *columns, *heads, "parameters", "MACs"), tuple(rows))


def rows_side_by_side(results: Sequence[Mapping[str, Any]]) -> Table | None:
    """Rows with others beside them: mAP and, where it is known, detection AP in percent, once as the paper prints them
    and once as they were measured, the mean over seeds. None where no row has another one beside it."""
    chosen = [result for result in results if result["beside"]]
    if not chosen:
        return None
    labels = list(dict.fromkeys(label for result in chosen for label in result["beside"]))
    several = [label for label in labels if any(len(result["beside"].get(label, ())) > 1 for result in chosen)]
    values = {
        "paper": {result["name"]: result["paper"] for result in results},
        "measured": {result["name"]: _means(result["runs"]) for result in results},
    }
    rows = []
    for result in chosen:
        for whose, known in values.items():
            others = [_best(names, known) for names in (result["beside"].get(label, ()) for label in labels)]
            cells = [
                percent(known.get(name, {}).get(key))
                for key in ("mAP", "detection_AP")
                for name in (result["name"], *others)
            ]
            names_of = [name or MISSING for name, label in zip(others, labels, strict=True) if label in several]
            rows.append(Row((result["name"], whose, *cells, *names_of)))
    heads = [
        f"{head}{which}" for head in ("mAP", "detection AP") for which in ("", *(f", {label}" for label in labels))
    ]
    names = tuple(f"{label} is" for label in several)
    return Table(("network", "whose", *heads, *names), tuple(rows), text=("whose", *names))


def _best(names: Sequence[str], known: Mapping[str, Mapping[str, float]]) -> str:
    """Of the rows that have an mAP that with the highest; empty where none has."""
    found = [name for name in names if "mAP" in known.get(name, {})]
    return max(found, key=lambda name: known[name]["mAP"], default="")


def _means(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Over the runs, of what `rows_side_by_side` shows."""
    keys = [key for key in ("mAP", "detection_AP") if any(key in run for run in runs)]
    return {key: float(np.mean([run[key] for run in runs if key in run])) for key in keys}


def _beside(
    paper: Mapping[str, float], runs: Sequence[Mapping[str, Any]], metrics: Iterable[str], counts: Sequence[str]
) -> list[str]:
    """The paper's numbers, each with what the runs measured; and the `counts` of both."""
    cells = [cell for key in metrics for cell in (percent(paper.get(key)), _over_seeds(runs, key))]
    for key in counts:
        write, columns = COUNTS[key]
        for own in columns.values():
            values = [run[own] for run in runs if own in run]
            cells.append(write(float(np.mean(values)) if values else None) if own else write(paper.get(key)))
    return cells


def _over_seeds(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    values = [run[metric] for run in runs if metric in run]
    if len(values) < 2:
        return percent(values[0]) if values else MISSING
    return f"{percent(float(np.mean(values)))} ({percent(min(values))} to {percent(max(values))})"
