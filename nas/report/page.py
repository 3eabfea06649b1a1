"""The report of a run: one HTML file that needs nothing beside itself, with a section for each file the run has."""

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nas.report import cell_graphs, numbers, plots, scripts, search_data, table
from nas.report import cells as draw
from nas.report.history import read_history
from nas.report.inline import inline_svg, png_image, svg_image
from nas.report.metrics import outdated, read_metrics, searches_frames
from nas.report.pareto import cost_data, pareto
from nas.report.query_data import browsed, interval, read_queries
from nas.report.query_results import Queries
from nas.report.retrieval_data import matching_rates, read_plot, receiver_curves
from nas.report.retrieval_plots import roc
from nas.report.style import svg
from nas.report.thumbnails import read_thumbnails
from nas.report.timing import conditions_line
from nas.system.files import blamed_on, read_object, write_text

STAGES = {
    "search": "Search",
    "teach": "Teacher",
    "pretrain": "Pretraining",
    "retrain": "Retraining",
    "baseline": "Baseline",
    "random-cell": "Random cell",
    "taught-baseline": "Taught baseline",
}
RETRIEVAL_PLOTS = {
    "distances": "Distances of right and wrong pairs",
    "tsne": "Features of some identities in the plane",
    "cameras": "From camera to camera",
}
ACCURACIES = {"mAP": "mAP", "detection_AP": "detection AP"}
MOST_RANKED = 20


def write_report(
    run_folder: Path, changed: Sequence[str] | None = None, costs: search_data.Costs | None = None
) -> Path:
    """Write `report.html` into a run's folder, in one step; a file the run does not have leaves its section out.

    changed: what differs from the published recipe, a line each, where that is known. costs: of the candidates of a
    search by gradient.

    Raises:
        ValueError: a file of the run is not the JSON it must be; the message names it.
    """
    run_folder = Path(run_folder)
    return write_text(run_folder / "report.html", report_page(run_folder, changed, costs))


def report_page(run_folder: Path, changed: Sequence[str] | None = None, costs: search_data.Costs | None = None) -> str:
    """The page that `write_report` writes."""
    return templates().get_template("page.html").render(_content(run_folder, costs), changed=changed)


def finding(metrics: dict, history: list[dict], networks: Mapping[str, Queries] | None = None) -> str:
    """The run in one sentence: what the student reaches beside its teacher, or else how far the search has come.

    networks: by name the single queries, from which the interval of the student's mAP comes.
    """
    student, teacher = _student_and_teacher(metrics)
    if student:
        name = str(student.get("name"))
        sentence = f"{name[:1].upper()}{name[1:]} reaches {_reached(student, networks or {}, named=True)} parameters"
        return f"{sentence}; its {teacher['name']} {_reached(teacher, {}, named=False)}." if teacher else f"{sentence}."
    tried = sum("score" in line for line in history)
    if tried:
        architectures = "1 architecture" if tried == 1 else f"{tried} architectures"
        return f"The search has tried {architectures}; nothing is evaluated yet."
    if history:
        epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
        return f"The search has run for {epochs}; nothing is evaluated yet."
    return "Nothing is evaluated yet."


def _content(folder: Path, costs: search_data.Costs | None) -> dict:
    """What the template shows, by the names it knows it by."""
    metrics = read_metrics(folder / "metrics.json") if (folder / "metrics.json").exists() else {}
    config, environment, architecture, found = (
        _read_json(folder / f"{name}.json") for name in ("config", "environment", "architecture", "architectures")
    )
    config, found = config or {}, found or {}
    histories = {stage: read_history(folder / f"{stage}.history.jsonl") for stage in STAGES}
    networks = read_queries(folder, metrics)
    with blamed_on(folder / "metrics.json"):
        evaluated = {
            "finding": finding(metrics, histories["search"], networks),
            "outdated": outdated(folder, metrics),
            "tiles": _tiles(metrics),
            "results": table.result_table(metrics) if metrics.get("rows") else None,
            "timing": conditions_line(metrics.get("rows") or []),
            "protocol": metrics.get("protocol"),
            "searches_frames": searches_frames(metrics),
            "result_figures": _result_figures(metrics),
        }
    with blamed_on(folder / "architecture.json"):
        cells = _architecture(architecture)
    with blamed_on(folder / "search.history.jsonl"):
        searched = _search(histories["search"], found)
    with blamed_on(folder / "architectures.json"):
        listed = {"ranked": _ranked(found), "notes": _shortened(found.get("notes") or {})}
    with blamed_on(folder / "search.history.jsonl"):
        data = _search_data(histories, found, costs, (config.get("config") or {}).get("strategy"))
    data |= _retrieval_data(folder, metrics, networks)
    return {
        "title": str(config.get("recipe") or config.get("name") or folder.resolve().name),
        **evaluated,
        **cells,
        **searched,
        "stages": _training_figures(folder, histories),
        "retrieval_figures": _retrieval_figures(folder),
        "strips": _pictures(folder / "strips"),
        "sheets": _pictures(folder / "sheets"),
        **listed,
        "data": {key: value for key, value in data.items() if value},
        "config": {name: value for name, value in config.items() if name != "stages"},
        "environment": environment,
        "reproduce": _reproduce(environment or {}),
    }


def _search_data(
    histories: dict[str, list[dict]], found: dict, costs: search_data.Costs | None, strategy: dict | None
) -> dict[str, Any]:
    """What the page's script draws of the search and of training, by the names that the template knows it by."""
    return {
        "operations": search_data.OPERATIONS,
        "ranked": search_data.listed(found),
        **search_data.of_search(histories["search"], found, strategy, costs),
        **{
            f"training-{stage}": search_data.lines_of(plots.training_panels(histories[stage]), title)
            for stage, title in STAGES.items()
        },
    }


def _retrieval_data(folder: Path, metrics: dict, networks: dict[str, Queries]) -> dict[str, Any]:
    """What the script draws of the evaluation: single queries, curves, costs, distances, cameras and the plane."""
    num_gallery, in_frames = (metrics.get("protocol") or {}).get("num_gallery"), searches_frames(metrics)
    return {
        "pictures": read_thumbnails(folder),
        "queries": browsed(folder, networks),
        "cmc": matching_rates(networks, None if in_frames else num_gallery),
        "roc": receiver_curves(metrics.get("rows") or []),
        "cost": cost_data(_plain_rows(metrics)),
        **{name: read_plot(folder / "plots" / f"{name}.json") for name in RETRIEVAL_PLOTS},
    }


def templates() -> Environment:
    """Templates in which everything is escaped unless a function of this package made it as markup.

    A page with `data` has the scripts of `nas.report.scripts`. The policy of each page is that nothing is loaded from
    anywhere, and that no script and no style sheet but its own runs or holds.
    """
    environment = Environment(
        loader=PackageLoader("nas.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "".join(map(_style_sheet, ("colours.css", "page.css", "views.css", "live.css")))
    environment.globals |= {"style": Markup(style), "library": scripts.library, "script": scripts.script}
    environment.globals["policy"] = lambda scripted, live: scripts.policy(style, scripted, live)
    environment.filters["as_json"] = scripts.as_json
    return environment


def _style_sheet(name: str) -> str:
    return resources.files("nas.report").joinpath(name).read_text(encoding="utf-8")


def _student_and_teacher(metrics: dict) -> tuple[dict | None, dict | None]:
    """The evaluated row the run is about (marked best, else called searched, else a student) and its teacher's."""
    rows = [row for row in metrics.get("rows") or [] if _accuracies(row)]
    teachers = [row for row in rows if _named(row, "teacher")]
    others = [row for row in rows if row not in teachers]
    students = [row for row in others if row.get("best")]
    for word in ("searched", "student", ""):
        students += [row for row in others if _named(row, word)]
    return (students or [None])[0], (teachers or [None])[0]


def _named(row: dict, word: str) -> bool:
    return word in str(row.get("name", "")).lower()


def _accuracies(row: dict) -> dict[str, str]:
    """What a row says of how good its network is, by the measure's name, as far as it says it."""
    found = {name: numbers.percent(row.get(key)) for key, name in ACCURACIES.items()}
    return {name: text for name, text in found.items() if text != numbers.MISSING}


def _reached(row: dict, networks: Mapping[str, Queries], *, named: bool) -> str:
    """With the measures' names, or only their numbers in the same order."""
    values = _accuracies(row)
    queries = networks.get(str(row.get("name")))
    bounds = interval(queries) if queries and "mAP" in values else None
    if bounds is not None:
        low, high = map(numbers.percent, bounds)
        values["mAP"] += f" (95 % interval over identities {low} to {high})"
    texts = [f"{name} {text}" if named else text for name, text in values.items()]
    return f"{' and '.join(texts)} with {numbers.millions(row.get('parameters'))}"


def _tiles(metrics: dict) -> list[dict]:
    """The student's most important numbers, each beside its teacher's."""
    student, teacher = _student_and_teacher(metrics)
    runtime = ((student or {}).get("timing") or {}).get("runtime")
    formats = {
        "mAP": ("mAP", numbers.percent),
        "rank1": ("rank-1", numbers.percent),
        "detection_AP": ("detection AP", numbers.percent),
        "detection_recall": ("detection recall", numbers.percent),
        "parameters": ("parameters", numbers.millions),
        "multiply_adds": ("MACs", numbers.multiply_adds),
        "ms_per_image_1": (f"ms an image{f', {runtime}' if runtime else ''}", numbers.milliseconds),
    }
    tiles = [
        {"name": name, "value": text(student.get(key)), "teacher": text(teacher.get(key)) if teacher else ""}
        for key, (name, measure) in formats.items()
        if student
        for text in [measure.beside([student.get(key), teacher.get(key) if teacher else None])]
    ]
    return [tile for tile in tiles if tile["value"] != numbers.MISSING]


def _result_figures(metrics: dict) -> list[tuple[str, str, Markup]]:
    """Each with its name and title."""
    num_gallery, in_frames = (metrics.get("protocol") or {}).get("num_gallery"), searches_frames(metrics)
    verified = roc(metrics.get("rows") or [])
    costs = pareto(_plain_rows(metrics))
    figures = [
        (
            "cmc",
            "Share of queries whose person is among the first k boxes" if in_frames else "Matching rate by rank",
            plots.cmc(metrics.get("cmc") or {}, num_gallery, "k boxes" if in_frames else plots.RANK),
        ),
        ("roc", "Are two images of one identity? Right pairs against wrong ones", svg(verified) if verified else ""),
        ("cost", "Accuracy against cost", svg(costs) if costs else ""),
    ]
    return [(name, title, inline_svg(picture, name, title)) for name, title, picture in figures if picture]


def _plain_rows(metrics: dict) -> list[dict]:
    """Those whose ranking is by distance alone."""
    return [row for row in metrics.get("rows") or [] if not row.get("rerank")]


def _retrieval_figures(folder: Path) -> list[tuple[str, str, Markup]]:
    """What `nas evaluate` drew of the student's retrieval, each with its name and title."""
    paths = [(name, folder / "plots" / f"{name}.svg", title) for name, title in RETRIEVAL_PLOTS.items()]
    theme = _style_sheet("colours.css")
    return [(name, title, svg_image(path, title, theme)) for name, path, title in paths if path.is_file()]


def _pictures(folder: Path) -> list[str]:
    """The pictures in a folder, such as those of queries and what was found, as sources of `<img>`."""
    return [png_image(path) for path in sorted(folder.glob("*.png")) if path.is_file()]


def _architecture(architecture: dict | None) -> dict:
    """The shape, the drawing and the listing of each cell, and the decisions outside the cells."""
    if not architecture:
        return {"architecture": None, "cells": [], "decisions": {}}
    return {
        "architecture": {name: architecture.get(name, numbers.MISSING) for name in ("space", "hash")},
        "cells": [
            (
                cell,
                cell_graphs.cell_shape(graph),
                inline_svg(draw.to_svg(draw.to_dot(graph)), f"cell{number}", f"The {cell} cell"),
            )
            for number, (cell, graph) in enumerate(cell_graphs.cell_graphs(architecture).items())
        ],
        "decisions": cell_graphs.other_decisions(architecture),
        "listing": cell_graphs.as_text(architecture),
    }


def _search(history: list[dict], architectures: dict) -> dict:
    """The curves only a search has, and when its prediction came to rest."""
    grids = plots.alphas(history)
    trials = plots.trials(history, architectures.get("value", "score"), architectures.get("cost", "cost"))
    figures = [
        ("trials", "Architectures tried", trials),
        ("measures", "Costs and curvature", plots.measures(history)),
        ("health", "Health", plots.health(history)),
    ]
    return {
        "alphas": [
            (kind, inline_svg(svg, f"alphas{number}", f"Softmax weights of {kind} over the epochs"))
            for number, (kind, svg) in enumerate(grids.items())
        ],
        "search_figures": [(name, title, inline_svg(svg, name, title)) for name, title, svg in figures if svg],
        "settled": _settled(history),
    }


def _settled(history: list[dict]) -> object:
    """The first epoch from which on the predicted architecture stayed the same; None without predictions."""
    settled, last = None, None
    for line in history:
        if line.get("predicted") not in (None, last):
            settled, last = line.get("epoch"), line["predicted"]
    return settled


def _training_figures(folder: Path, histories: dict[str, list[dict]]) -> list[tuple[str, str, Markup]]:
    """The curves of each stage that has been trained, with its name and title."""
    figures = []
    for stage, title in STAGES.items():
        with blamed_on(folder / f"{stage}.history.jsonl"):
            picture = plots.training(histories[stage])
        if picture:
            figures.append((stage, title, inline_svg(picture, stage, f"{title}: losses and schedules over the epochs")))
    return figures


def _ranked(architectures: dict) -> list[dict]:
    """The best architectures with what they decide, as text."""
    return [
        {
            "score": numbers.general(entry.get("score")),
            "further": {
                numbers.MEASURED[name][0] if name in numbers.MEASURED else name: numbers.general(share)
                for name, share in (entry.get("further") or {}).items()
            },
            "hash": entry["architecture"].get("hash", numbers.MISSING),
            "listing": cell_graphs.as_text(entry["architecture"]),
        }
        for entry in architectures.get("ranked", [])[:MOST_RANKED]
    ]


def _shortened(value: object) -> object:
    """The same with few digits of each number that is not whole."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return numbers.general(value) if isinstance(value, float) else value


def _reproduce(environment: dict) -> str:
    """The commands that repeat the run, as far as the environment knows them."""
    command = environment.get("command") or ""
    commit = next((value for key, value in environment.items() if "commit" in key and value), None)
    lines = [f"git checkout {commit}"] if commit else []
    lines += [shlex.join(map(str, command)) if isinstance(command, list) else str(command)] if command else []
    return "\n".join(lines)


def _read_json(path: Path) -> dict | None:
    """A file of the run, or None where the run has not come that far."""
    return read_object(path) if path.exists() else None
