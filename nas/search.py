"""`nas search`: finds architectures under a teacher's falling temperature."""

from __future__ import annotations

import numpy as np
import torch

from nas.checkpoint import write_json
from nas.data import splits
from nas.data.base import ReIDData
from nas.objective import SearchObjective
from nas.run import RESULTS, Run, digest
from nas.stage import Stage
from nas.strategies.base import Found
from nas.teach import load_teacher, teacher_path
from nas.training import batches_of, cached
from search_spaces.base import Architecture

FORMAT = 1


def search(run: Run, overwrite: bool = False) -> None:
    """Searches the recipe's space into `architecture.json` and `architectures.json` (a ranked list)."""
    recipe = run.recipe
    if recipe.strategy is None:
        raise ValueError(f"the recipe {run.name!r} has no strategy: it retrains the published architecture")
    data = recipe.load()
    space = recipe.space.with_ids(len(data.identities))
    recipe.retrained.with_ids(len(data.identities)).check(space.published())
    weights = teacher_path(run)
    stage = run.begin("search", overwrite, len(data.identities), digest(weights) if weights else None)
    if stage is None:
        return
    torch.manual_seed(recipe.seed)
    found = recipe.strategy.search(space, objective(run, data, stage), stage)
    if stage.fabric.is_global_zero:
        write_found(run, found)
        run.end(stage)
    stage.fabric.barrier()


def objective(run: Run, data: ReIDData, stage: Stage) -> SearchObjective:
    """The search's objective: two halves of the training set, the loss, and the teacher."""
    recipe = run.recipe
    halves = {"image": splits.by_image, "identity": splits.by_identity}[recipe.search.split]
    teacher = load_teacher(run, data, stage)
    cache = cached(data.train, recipe.images)
    weights, alphas = (
        batches_of(data, cache, recipe.search.sampling, recipe.search.augment, seed, stage, indices)
        for seed, indices in enumerate(halves(data.train_labels, np.random.default_rng(recipe.seed)), 2 * recipe.seed))
    return SearchObjective(recipe.loss, weights, alphas, teacher, recipe.strategy.epochs,
                           recipe.search.alpha_loss)


def write_found(run: Run, found: Found) -> None:
    """The ranked list, then the best: with it the search counts as finished."""
    ranked = [{"score": score, "architecture": _described(architecture)} for score, architecture in found.ranked]
    write_json(run.folder / "architectures.json", {"format": FORMAT, "ranked": ranked})
    write_json(run.folder / RESULTS["search"], _described(found.best))


def _described(architecture: Architecture) -> dict:
    return {**architecture.to_dict(), "hash": architecture.hash}
