"""A control of a search: an architecture that chance has made, of the same MACs as the one that was found."""

from __future__ import annotations

from itertools import islice

import numpy as np

from nas.run import Run
from nas.stages.sampled_students import Sampled, sampled_students
from nas.system.files import blamed_on, read_object, write_json
from search_spaces.architecture import Architecture

FILE = "random-cell.json"
TOLERANCE = 0.05
"""How far its MACs may be from those of the found one, as a share of these."""
MOST = 500
"""Architectures that are drawn; the nearest one is taken if none is near enough."""
STREAM = 0x5EED
"""Keeps its draws apart from the others of the same seed."""


def random_cell(run: Run, found: Architecture) -> Architecture:
    """The first architecture sampled by the run's seed whose student has the MACs of `found`'s, give or take 5 %; that
    of the nearest MACs if none of 500 has. Written to `random-cell.json`.

    Raises ValueError where the space leaves nothing open.
    """
    path = run.folder / FILE
    if path.exists() and (written := read_object(path)).get("like") == found.hash:
        with blamed_on(path):
            return Architecture.from_dict(written)
    nearest, distance = Sampled.of(run.recipe, found), float("inf")
    wanted, rng = nearest.multiply_adds, np.random.default_rng([STREAM, run.recipe.seed])
    for sampled in islice(sampled_students(run.recipe, rng), MOST):
        away = abs(sampled.multiply_adds / wanted - 1) if sampled.architecture != found else float("inf")
        if away < distance:
            nearest, distance = sampled, away
        if distance <= TOLERANCE:
            break
    cell = nearest.architecture
    facts = {"hash": cell.hash, "like": found.hash, "multiply_adds": nearest.multiply_adds, "wanted": wanted}
    write_json(path, {**cell.to_dict(), **facts})
    return cell
