"""What a paper says of networks that need not be trained for it: how long they take, and where their costs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from nas.errors import near_misses
from nas.models.network import FeatureNet
from nas.report.numbers import MISSING, millions, milliseconds, multiply_adds, percent
from nas.report.run_plots import curves
from nas.report.table import Row, Table, as_markdown
from nas.report.timing import conditions_line
from nas.study.published import Published
from nas.system.config import fingerprint
from nas.system.files import read_object, write_json, write_text
from nas.system.progress import tell
from nas.tasks.base import image_size
from search_spaces.cost.counting import cost
from search_spaces.cost.latency import latency
from students.reid import ReIDModule

FORMAT = 1
BATCHES = {1: (2, 5), 8: (1, 3), 32: (1, 3), 128: (1, 3)}
"""Images at a time, and how many passes of each warm up and count."""
LARGEST = max(BATCHES)
KEPT = "times.ckpt"
ANY_IDS = 751
"""Training identities of a network whose classifier is counted, Market-1501's, where the row does not say."""

Results = list[dict[str, Any]]
Measure = Callable[[Sequence[Published], Path], Results]


def untrained(name: str, rows: Sequence[Published], folder: Path, overwrite: bool = False) -> Results:
    """Measures the rows by what `MEASURES` has of this name, into `table.json` and `table.md`. Raises ValueError for an
    unknown name, and where the folder holds a table that is not to be replaced."""
    measure = _named(name)[0]
    if (folder / "table.json").exists() and not overwrite:
        raise ValueError(f"{folder} holds a table: give --out another folder, or --overwrite to measure it again")
    results = measure(rows, folder)
    lines = untrained_notes(results)
    write_json(folder / "table.json", {"format": FORMAT, "rows": results, "notes": lines})
    table = as_markdown(untrained_table(name, results)).rstrip("\n")
    write_text(folder / "table.md", "\n\n".join([table, *lines]) + "\n")
    (folder / KEPT).unlink(missing_ok=True)
    return results


def untrained_table(name: str, results: Results) -> Table:
    return _named(name)[1](results)


def untrained_notes(results: Results) -> list[str]:
    return [line] if (line := conditions_line(results)) else []


def times(rows: Sequence[Published], folder: Path) -> Results:
    """Milliseconds for an image in batches of `BATCHES`, of networks with random weights (VRKD, Figure 5).

    `share`: what the first network takes of each one's time. What a killed process has measured stays in `KEPT`.
    """
    kept = folder / KEPT
    done = read_object(kept) if kept.exists() else {}
    keys = [fingerprint(row.recipe, row.role) for row in rows]
    for row, key in zip(rows, keys, strict=True):
        if key not in done:
            done[key] = _timed(row)
            tell(f"{row.name}: {milliseconds(done[key][_KEY])} ms an image in batches of {LARGEST}", folder)
            write_json(kept, done)
    first = done[keys[0]][_KEY]
    return [
        {"name": row.name, "paper": dict(row.paper), **done[key], "share": first / done[key][_KEY]}
        for row, key in zip(rows, keys, strict=True)
    ]


def _timed(row: Published) -> dict[str, Any]:
    recipe, net = row.recipe, FeatureNet(_network(row, 1))
    height, width = image_size(recipe.task, recipe)
    runtime = recipe.machine.runtime(recipe.evaluation.runtime)
    timed = {
        f"ms_per_image_{size}": latency(net, height, width, runtime, size, *passes).median
        for size, passes in BATCHES.items()
    }
    counted = cost(net, height, width)
    costs = {"parameters": counted.parameters, "multiply_adds": counted.multiply_adds}
    return timed | costs | {"timing": runtime.conditions().to_dict() | {"height": height, "width": width}}


_KEY = f"ms_per_image_{LARGEST}"


def _times_table(results: Results) -> Table:
    """The last two columns have what the first network takes of each one's time, in the largest batches; where rows are
    left out, and with them the paper's first one, there are none."""
    names, heads = [result["name"] for result in results], [f"ms, batch {size}" for size in BATCHES]
    columns = [milliseconds.column([result[f"ms_per_image_{size}"] for result in results]) for size in BATCHES]
    columns += [millions.column([result["parameters"] for result in results])]
    columns += [multiply_adds.column([result["multiply_adds"] for result in results])]
    heads += ["parameters", "MACs"]
    if "share" not in results[0]["paper"]:
        columns += [[percent(result["paper"].get("share")) for result in results]]
        columns += [[percent(result["share"]) for result in results]]
        heads += [f"{names[0]} takes of it (%), paper", "measured"]
    return Table(("network", *heads), tuple(Row(cells) for cells in zip(names, *columns, strict=True)))


def layer_shares(rows: Sequence[Published], folder: Path) -> Results:
    """Which share of a network's multiply-adds and parameters is in layers of a type; a row is named as the type (fast
    re-ID, Table 1). Of the parameters those of the rows' types together are the whole, without normalisations, as in
    the paper."""
    results: Results = []
    for row in rows:
        net = _network(row, row.counted_ids or ANY_IDS)
        counted = cost(net, *image_size(row.recipe.task, row.recipe))
        whole = sum(counted.parameters_by_type.get(each.name, 0.0) for each in rows)
        measured = {
            "multiply_adds_share": counted.multiply_adds_by_type.get(row.name, 0.0),
            "parameters_share": counted.parameters_by_type.get(row.name, 0.0) / whole,
        }
        results.append({"name": row.name, "paper": dict(row.paper)} | measured)
    return results


def _layer_table(results: Results) -> Table:
    keys = {"multiply_adds_share": "MACs (%)", "parameters_share": "parameters (%)"}
    cells = [
        Row(
            (
                result["name"],
                *(f"{100 * of[key]:.2f}" if key in of else MISSING for key in keys for of in (result["paper"], result)),
            )
        )
        for result in results
    ]
    heads = [f"{label} {whose}" for label in keys.values() for whose in ("paper", "measured")]
    return Table(("layer", *heads), tuple(cells))


def untrained_figures(results: Results) -> dict[str, Figure]:
    """Times against the size of the batch; of other tables none."""
    lines = {
        result["name"]: {float(size): [result[f"ms_per_image_{size}"]] for size in BATCHES}
        for result in results
        if _KEY in result
    }
    return {"times": curves(lines, "images at a time", "ms per image")} if lines else {}


def _network(row: Published, num_ids: int) -> ReIDModule:
    """The row's, with random weights."""
    recipe = row.recipe
    space = recipe.teacher.net if row.role == "teacher" and recipe.teacher else recipe.retrained
    torch.manual_seed(recipe.seed)
    net: Any = space.with_ids(num_ids).student().inference()
    return net


def _named(name: str) -> tuple[Measure, Callable[[Results], Table]]:
    if name not in MEASURES:
        raise ValueError(f"there is no measure {name!r}{near_misses(name, MEASURES)}; there are {', '.join(MEASURES)}")
    return MEASURES[name]


MEASURES: Mapping[str, tuple[Measure, Callable[[Results], Table]]] = {
    "times": (times, _times_table),
    "layer_shares": (layer_shares, _layer_table),
}
"""What `runs.tables.UNTRAINED` may ask for: how rows are measured, and how they are shown."""
