"""`nas draw` and `nas report`: the pictures and the page of a run."""

from __future__ import annotations

from pathlib import Path

from nas.report import cells as draw
from nas.report.page import write_report
from nas.run import Run
from nas.system.at_work import AtWork
from nas.system.progress import timed


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
        return write_report(run.folder)
