"""`nas draw` and `nas report`: the pictures and the page of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.report import cells as draw
from nas.report.page import write_report
from nas.run import Run
from nas.strategies.base import OneShotSearch
from nas.strategies.cost_penalty import TABLE
from nas.study.joint import searched_space
from nas.system.at_work import AtWork
from nas.system.config import differences, portable
from nas.system.files import blamed_on, read_object
from nas.system.progress import timed
from nas.tasks.base import image_size
from search_spaces.cost.candidates import MultiplyAdds


def draw_architecture(run: Run) -> list[Path]:
    """Draws what is retrained: SVG and PNG of every cell."""
    return draw.draw(architecture(run), run.folder)


def architecture(run: Run) -> dict:
    """The run's architecture as plain data; the published one where nothing was searched."""
    chosen = run.architecture() or run.recipe.retrained.with_ids(1).published()
    return {**chosen.to_dict(), "hash": chosen.hash}


def report(run: Run) -> Path:
    """Writes `report.html` from what the run's folder holds."""
    with timed("report", run.folder), AtWork(run.folder, "evaluate"):  # which empties its folders of pictures first
        changed = None
        if run.published is not None:
            changed = differences(portable(run.published), portable(run.recipe))
        return write_report(run.folder, changed, candidate_costs(run))


def candidate_costs(run: Run) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """What each candidate of a search by gradient costs, by decision and option: `macs`, and `ms` where the search has
    left a latency table."""
    recipe, table = run.recipe, run.folder / TABLE
    if not isinstance(recipe.strategy, OneShotSearch) or not (run.folder / "search.history.jsonl").exists():
        return {}
    counted = MultiplyAdds.counted(searched_space(recipe, 1), *image_size(recipe.task, recipe))
    with blamed_on(table):
        times = {"ms": {name: dict(row) for name, row in read_object(table)["ms"].items()}} if table.exists() else {}
    return {"macs": counted.of, **times}
