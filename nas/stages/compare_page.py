"""The page of a comparison: what differs between the runs, and how their networks answer the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.report import compare_data, search_data
from nas.report.ablation import contrasts_table
from nas.report.comparison import accuracy_table, difference_table, seed_lines
from nas.report.history import read_history
from nas.report.page import STAGES, templates
from nas.report.pareto import cost_data
from nas.report.query_data import browsed
from nas.report.query_results import Queries
from nas.report.retrieval_data import matching_rates
from nas.report.thumbnails import read_thumbnails
from nas.report.timing import conditions_line
from nas.system.files import blamed_on, read_object, write_text

LEFT_OUT = ("machine",)
"""Fields of a recipe that change no result."""


def write_page(comparison: Mapping[str, Any], queries: Sequence[Queries], out: Path) -> Path:
    """Writes `compare.html`. `queries`: of each row of the comparison, all the same ones in any order."""
    rows = comparison["rows"]
    runs = _runs(rows)
    of_networks = dict(zip([row["name"] for row in rows], compare_data.colours(rows), strict=True))
    of_runs = {name: of_networks[next(row["name"] for row in rows if row["run"] == run)] for run, name in runs.items()}
    page = templates().get_template("compare.html")
    data = _queries_data(rows, queries, comparison, of_networks, out) | _runs_data(runs, of_runs)
    data["costs"] = compare_data.coloured_costs(cost_data(rows), of_networks)
    tables = {
        "Accuracy and cost": accuracy_table(dict(comparison)),
        "Differences in points": difference_table(dict(comparison)),
    }
    if comparison["paired"]:
        tables["Differences over seeds in points, run by run"] = contrasts_table(comparison["paired"])
    text = page.render(
        comparison=comparison,
        tables=tables,
        sentences=compare_data.sentences(comparison),
        lines=[*seed_lines(comparison["seeds"]), conditions_line(rows), *comparison["notes"]],
        data={key: value for key, value in data.items() if value},
    )
    return write_text(out / "compare.html", text)


def _runs(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The compared runs' folders, with their names, which roles of one run share."""
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(row["run"], row["name"].removesuffix(f":{row['role']}"))
    return names


def _queries_data(
    rows: Sequence[Mapping[str, Any]],
    queries: Sequence[Queries],
    comparison: Mapping[str, Any],
    colours: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """How the networks answer: images lie where they did for the first of them."""
    first, *others = map(_sorted, queries)
    alike = [first, *(replace(each, names=first.names, boxes=first.boxes) for each in others)]
    networks = dict(zip([row["name"] for row in rows], alike, strict=True))
    out.mkdir(parents=True, exist_ok=True)
    curves = matching_rates(networks, comparison["protocol"].get("num_gallery"))
    return {
        "cmc": compare_data.coloured(curves, colours) if curves else None,
        "queries": browsed(out, networks),
        "pictures": read_thumbnails(Path(rows[0]["run"])),
    }


def _sorted(queries: Queries) -> Queries:
    """In the order of their labels, which is the same wherever the images lie."""
    labels = queries.labels
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return Queries(
        names=tuple(queries.names[i] for i in order),
        ids=queries.ids[order],
        cameras=None if queries.cameras is None else queries.cameras[order],
        average_precision=queries.average_precision[order],
        first_match_rank=queries.first_match_rank[order],
        boxes=None if queries.boxes is None else tuple(queries.boxes[i] for i in order),
        found=tuple(queries.found[i] for i in order) if queries.found else (),
    )


def _runs_data(runs: Mapping[str, str], colours: Mapping[str, str]) -> dict[str, Any]:
    """What the runs did before: their settings, losses and alphas, as far as they have any."""
    folders = {name: Path(run) for run, name in runs.items()}
    configs = {name: _config(folder) for name, folder in folders.items()}
    histories = {
        stage: {name: read_history(folder / f"{stage}.history.jsonl") for name, folder in folders.items()}
        for stage in STAGES
    }
    panels = [
        compare_data.coloured(panel, colours)
        for stage, title in STAGES.items()
        for panel in compare_data.losses(histories[stage], title)
    ]
    searched = {name: search_data.searched(history) for name, history in histories["search"].items()}
    settings = compare_data.settings(configs)
    return {
        "operations": search_data.OPERATIONS,
        "settings": settings if settings["rows"] else None,
        "losses": panels,
        "alphas": [{"name": name, "search": search} for name, search in searched.items() if search],
    }


def _config(folder: Path) -> dict[str, Any] | None:
    """The run's recipe; None for an evaluation of another network."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    with blamed_on(path):
        return {key: value for key, value in read_object(path)["config"].items() if key not in LEFT_OUT}
