"""`nas search`: finds architectures under a teacher's falling temperature."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.errors import near_misses
from nas.recipe import Recipe
from nas.report.timing import in_words
from nas.run import RESULTS, Run
from nas.stages.again import Overwrite, started
from nas.stages.search_entry import student_cost
from nas.stages.search_result import FORMAT, FOUND, SHOWN, student_key
from nas.stages.teacher import remembering, run_teacher, teacher_path
from nas.strategies import STRATEGIES
from nas.strategies.base import OneShotSearch, SearchResult, Strategy
from nas.strategies.discrete import DiscreteSearch
from nas.study.joint import searched_space, split_decisions
from nas.study.objective import SearchObjective, Trials
from nas.study.place import GRACE_S, store_of
from nas.system.config import encode
from nas.system.files import digest, write_json
from nas.system.processes import threads_of, worker_processes
from nas.system.progress import tell
from nas.tasks.base import Retrieves, WeighsFurther, image_size
from nas.training.stage import Stage
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from teachers.teacher import BatchTeacher


def search(
    run: Run, overwrite: Overwrite = False, num_workers: int = 1, storage: str = "", grace_s: float = GRACE_S
) -> None:
    """Searches the recipe's space into `architecture.json` and `architectures.json` (a ranked list, and a front).

    Further workers are processes of their own, which share the trials with this one; a script that wants some calls
    this below `if __name__ == "__main__":`, see `nas.system.processes`. `storage`: where the trials of a search by
    trials are, a file or a database's address; empty: in the run's folder. `grace_s`: seconds without a sign of life
    after which a worker on another machine is taken for dead, and its trial done again.
    """
    with started(run, ["search"], overwrite) as run:
        _search(run, num_workers, storage, grace_s)


def _search(run: Run, num_workers: int, storage: str, grace_s: float) -> None:
    recipe = run.recipe
    if recipe.strategy is None:
        raise ValueError(f"the recipe {run.name!r} has no strategy: it retrains the published architecture")
    check_search(recipe)
    shared = isinstance(recipe.strategy, DiscreteSearch)
    if num_workers < 1 or (num_workers > 1 and not shared):
        raise ValueError(
            f"--workers must be 1, or more for a strategy that tries whole architectures, not {num_workers} "
            f"with {type(recipe.strategy).__name__}"
        )
    data = recipe.load()
    space = searched_space(recipe, len(data.identities))
    weights = teacher_path(run)
    stage = run.begin("search", len(data.identities), digest(weights) if weights else None, shared=shared)
    if stage is None:
        return
    torch.manual_seed(recipe.seed)
    what_for = objective(run, data, stage)
    with _helped(run, num_workers, storage, grace_s), stage.working():
        if isinstance(recipe.strategy, DiscreteSearch):
            from nas.study.searching import search_by_trials  # Optuna, which other searches would wait for
            from nas.study.storage import reached

            store = store_of(run.folder, storage, grace_s)
            with reached(store.address):
                found = search_by_trials(recipe.strategy, space, what_for, stage, store)
        else:
            assert isinstance(recipe.strategy, OneShotSearch)
            if recipe.machine.compile:
                tell("search: the supernet is not compiled, as tracing its cells takes too long", run.folder)
            found = recipe.strategy.search(space, what_for, stage)
        if stage.fabric.is_global_zero:
            write_found(run, found, what_for.cost)
            run.end(stage)
        stage.fabric.barrier()


def _helped(run: Run, num_workers: int, storage: str, grace_s: float) -> AbstractContextManager:
    """All the workers but this one, beside what is inside."""
    if num_workers == 1:
        return nullcontext()
    threads = threads_of(num_workers, run.recipe.machine.threads)
    torch.set_num_threads(threads)
    return worker_processes(join_search, (run.folder, threads, storage, grace_s), num_workers - 1, run.folder)


def join_search(folder: Path, threads: int, storage: str, grace_s: float) -> None:
    """Takes part in the search that another process has begun in `folder`, with so many threads."""
    run = Run.open(folder)
    machine = replace(run.recipe.machine, threads=threads)
    joined = replace(run, recipe=replace(run.recipe, machine=machine))
    search(joined, storage=storage, grace_s=grace_s)


def check_search(recipe: Recipe) -> None:
    """Raises ValueError naming what the strategy cannot decide in the space, and which strategies can."""
    assert recipe.strategy is not None
    strategy, space = recipe.strategy, searched_space(recipe, 1)
    if strategy.by_trials:
        recipe.machine.check_alone()
    elif recipe.machine.num_processes > 1 and not strategy.shares_steps:
        raise ValueError(
            "this strategy is not known to search rightly with several processes: leave --machine.devices and "
            "--machine.num-nodes out, or take another one, such as darts"
        )
    if strategy.asks_proxy and not isinstance(recipe.task, Retrieves):
        raise ValueError(
            "a zero-cost proxy judges networks that give one feature for each image, and those for "
            "this data set do not: take another strategy, or leave --strategy.warm-start out"
        )
    check_further(recipe)
    student = recipe.retrained
    space.check_candidates()
    try:
        student.with_ids(1).check(recipe.space.with_ids(1).published())
    except ValueError as error:
        raise ValueError(
            f"the student ({student.title}) is not of the space that is searched ({recipe.space.title}): {error}. "
            "--space NAME changes both, --student None retrains as searched"
        ) from None
    try:
        strategy.check(space)
    except ValueError as error:
        able = [name for name, other in STRATEGIES.items() if ":" not in name and _serves(other, space)]
        raise ValueError(f"{error}. Of the strategies, {', '.join(able) or 'none'} can search this space") from None


def check_further(recipe: Recipe) -> None:
    """Raises ValueError when the search should weigh what its task or its strategy does not measure."""
    strategy, further = recipe.strategy, recipe.search.further
    if not further:
        return
    known = recipe.task.further if isinstance(recipe.task, WeighsFurther) else ()
    if unknown := [name for name in further if name not in known]:
        raise ValueError(
            f"--search.further must be of {', '.join(known) or 'nothing'} for this data set, not "
            f"{', '.join(unknown)}{near_misses(unknown[0], known)}"
        )
    if not (isinstance(strategy, DiscreteSearch) and strategy.trains):
        raise ValueError(
            f"--search.further {' '.join(further)} is measured of networks that are trained one by one: take a "
            "strategy that does so, such as nsga2, or leave it out"
        )
    if recipe.space.needs_query:
        raise ValueError(
            f"--search.further {' '.join(further)}: a query-guided network ({recipe.space.title}) detects other "
            "persons for each query; leave it out"
        )


def _serves(strategy: Strategy, space: SearchSpace) -> bool:
    try:
        strategy.check(space)
    except ValueError:
        return False
    return True


def objective(run: Run, data: Any, stage: Stage) -> SearchObjective:
    """The search's objective: two halves of the training set, the loss, and the teacher."""
    recipe, task = run.recipe, run.recipe.task
    assert recipe.strategy is not None
    own_teacher = run_teacher(run, data, stage)
    teacher: BatchTeacher | None = own_teacher
    parts = task.halves(data, recipe, np.random.default_rng(recipe.seed))
    weights, alphas = (
        task.batches(data, part, recipe.search, seed, stage) for seed, part in enumerate(parts, 2 * recipe.seed)
    )
    if not isinstance(recipe.strategy, DiscreteSearch):
        epochs = recipe.strategy.epochs
        alpha_loss = recipe.search.alpha_loss or recipe.loss
        asked = [(weights, recipe.loss.num_listened(epochs)), (alphas, alpha_loss.num_listened(epochs))]
        teacher = remembering(run, own_teacher, asked, stage)
    trials = Trials(recipe, data, stage, teacher, weights, parts[1])
    return SearchObjective(
        recipe.loss, weights, alphas, teacher, recipe.strategy.epochs, recipe.search.alpha_loss, trials
    )


def write_found(run: Run, found: SearchResult, cost_of: Callable[[Architecture], float]) -> None:
    """The ranked list and the front, then the best: with it the search counts as finished. `cost_of` is asked for those
    that the search has not measured. The students of the front and of the first `SHOWN` have their cost beside them."""
    recipe = run.recipe
    students = Students(recipe)
    shown = {architecture for _, architecture in found.ranked[:SHOWN]} | {each for *_, each in found.front}

    def described(architecture: Architecture) -> dict:
        own, overrides = split_decisions(architecture, recipe)
        return {**own.to_dict(), "hash": own.hash, **({"changes": overrides} if overrides else {})}

    def entry(score: float, cost: float, architecture: Architecture) -> dict:
        count = students.cost(architecture) if architecture in shown else {}
        beside = {"student": count} if count else {}
        further = {"further": dict(found.further[architecture])} if architecture in found.further else {}
        return {"score": score, "cost": cost, **further, **beside, "architecture": described(architecture)}

    costs = dict(found.costs)
    for _, architecture in found.ranked:
        if architecture not in costs:
            count = students.cost(architecture) if students.are_as_searched else {}
            costs[architecture] = count["multiply_adds"] if count else cost_of(architecture)
    write_json(
        run.folder / FOUND,
        {
            "format": FORMAT,
            "value": found.score,
            "cost": recipe.search.cost,
            "student_key": student_key(encode(recipe)),
            "ranked": [entry(score, costs[architecture], architecture) for score, architecture in found.ranked],
            "front": [entry(*point) for point in found.front],
            "notes": {**found.notes, **_timed_in(recipe)},
        },
    )
    write_json(run.folder / RESULTS["search"], described(found.best))


def _timed_in(recipe: Recipe) -> dict[str, str]:
    """What the milliseconds of a search hold for, where it asked for any."""
    if "latency_ms" not in (recipe.search.cost, getattr(recipe.strategy, "cost", "")):
        return {}
    height, width = image_size(recipe.task, recipe)
    conditions = recipe.machine.runtime(recipe.search.runtime).conditions().to_dict()
    return {"milliseconds": in_words(conditions | {"height": height, "width": width})}


class Students:
    """What the students of searched architectures cost, each counted once."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.are_as_searched = recipe.retrained == recipe.space and recipe.search.cost == "multiply_adds"
        self.counted: dict[Architecture, dict[str, int]] = {}

    def cost(self, architecture: Architecture) -> dict[str, int]:
        """As `student_cost`; empty for one that is not in the student's space, which `retrain` will say."""
        if architecture not in self.counted:
            self.counted[architecture] = {}
            with suppress(ValueError):
                self.counted[architecture] = student_cost(self.recipe, split_decisions(architecture, self.recipe)[0])
        return self.counted[architecture]
