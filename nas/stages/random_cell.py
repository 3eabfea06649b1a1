"""A control of a search: an architecture that chance has made, of the same MACs as the one that was found."""

from __future__ import annotations

import numpy as np
import torch

from nas.run import Run
from nas.system.files import blamed_on, read_object, write_json
from nas.tasks.base import image_size
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost

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
    recipe = run.recipe
    space, size = recipe.retrained.with_ids(1), image_size(recipe.task, recipe)

    def multiply_adds(architecture: Architecture) -> int:
        with torch.device("meta"):
            return cost(recipe.task.deployed(space.student(architecture).inference()), *size).multiply_adds

    path = run.folder / FILE
    if path.exists() and (written := read_object(path)).get("like") == found.hash:
        with blamed_on(path):
            return Architecture.from_dict(written)
    if not space.published().decisions:
        raise ValueError(f"{space.title} leaves nothing open, so there is no random cell: leave --controls out")
    wanted, rng = multiply_adds(found), np.random.default_rng([STREAM, recipe.seed])
    nearest, distance = found, float("inf")
    for _ in range(MOST):
        sampled = space.sample(rng)
        away = abs(multiply_adds(sampled) / wanted - 1) if sampled != found else float("inf")
        if away < distance:
            nearest, distance = sampled, away
        if distance <= TOLERANCE:
            break
    facts = {"hash": nearest.hash, "like": found.hash, "multiply_adds": multiply_adds(nearest), "wanted": wanted}
    write_json(path, {**nearest.to_dict(), **facts})
    return nearest
