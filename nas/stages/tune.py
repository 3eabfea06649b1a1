"""`nas tune`: Optuna proposes settings of a recipe; each is trained and then measured on held-out identities.

Any number of processes on any number of machines work at one study: whoever gives the same command joins. The teacher
is trained first, without the held-out identities, so that nothing it says tells of them. A trial trains the recipe's
student alone: nothing is searched, and no baseline is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from optuna import Study, Trial

from nas.recipe import Recipe
from nas.run import Run, read_architecture
from nas.stages.teach import teach_once
from nas.stages.teacher import run_teacher
from nas.strategies.base import Score
from nas.study.engine import Engine, Outcome, Plan
from nas.study.place import Place
from nas.study.progress import TrialProgress, watching
from nas.study.sampler import SAMPLERS, Seeded, pruner
from nas.study.spaces import Space
from nas.study.storage import Direction, join_study, open_storage, reached, retry
from nas.study.trainer import Trainer
from nas.study.watch import note_study
from nas.system.config import apply_overrides, portable
from nas.training.stage import Stage
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from search_spaces.ranges import Name, OpenShare, Ranged

DECIDES = ("seed", "data", "images", "space", "student", "loss", "retrain", "evaluation", "teacher", "architecture")
"""The fields of a recipe that a trial's value depends on."""
TRIALS = 20


class Measures(Protocol):
    """Gives proposals their scores, as `nas.study.trainer.Trainer` does."""

    num_ids: int

    def __call__(
        self, recipe: Recipe, architecture: Architecture | None, folder: Path, report: PruneCallback
    ) -> Score: ...


@dataclass(frozen=True, kw_only=True)
class Tuning(Ranged):
    """What decides a study beside its recipe."""

    space: Name
    """What is tuned, by the names that `--parameters` takes."""
    sampler: Literal["grid", "tpe", "nsga2"] = "tpe"
    """Who proposes: all combinations, Optuna's estimator, or mAP against MACs."""
    pruner: Literal["none", "median", "hyperband"] = "none"
    """Who stops a trial whose mAP on the way is poor."""
    held_out: OpenShare = 0.2
    """Share of the training identities that proposals are measured on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler == "nsga2" and self.pruner != "none":
            raise ValueError(
                f"--pruner {self.pruner} needs one objective, and nsga2 has two (mAP, MACs): "
                "Optuna prunes no study of several; take --pruner none, or --sampler tpe"
            )

    @property
    def directions(self) -> list[Direction]:
        return ["maximize", "minimize"] if self.sampler == "nsga2" else ["maximize"]


class Tuner:
    """A study of a recipe: what its workers share, and the work of one of them."""

    def __init__(self, run: Run, tuning: Tuning, place: Place, num_trials: int | None = None) -> None:
        """Joins the study, or begins it; `run` has the recipe as it is. Raises ValueError, and then leaves nothing."""
        self.tuning, self.place = tuning, place
        self.recipe = on_held_out(run.recipe, tuning)
        self.run = Run(place.folder, run.name, self.recipe)
        self.space = Space.named(tuning.space, self.recipe)
        self._check()
        beforehand = self._beforehand(num_trials)
        self.recipe.load()
        self.storage = open_storage(place.address)
        with reached(self.place.address):
            self.study = self._joined()
            self.engine = Engine(
                self.study,
                self.storage,
                lambda number, ended: Plan(params=beforehand[number]),
                len(beforehand),
                place.grace_s,
            )
        note_study(place, "tune", len(beforehand))

    def work(self, prepare: Callable[[Run], Measures]) -> None:
        """Takes part until every trial has ended. `prepare` gives what measures proposals: `taught`."""
        with reached(self.place.address):
            if not self.engine.is_over:
                measures = prepare(self.run)
                self.engine.work(lambda trial: self._measured(trial, measures))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """While inside, each trial that ends is said in a line, whoever worked at it."""
        progress = TrialProgress(self.study, self.engine.num_trials, self.place.folder)

        with watching(progress.tell, self.place.address):
            yield

    def _check(self) -> None:
        """Raises ValueError for what cannot be tuned."""
        if self.tuning.sampler == "nsga2" and not self.space.has_architecture:
            raise ValueError(
                f"nsga2 weighs mAP against MACs, and the space {self.space.name!r} changes no "
                f"network: take --parameters {self.space.name}+architecture, or --sampler tpe"
            )
        if self.recipe.retrain_loss is not None:
            raise ValueError(
                "trials are trained with --loss, and the recipe has another one for its retraining: give "
                "--retrain-loss None, and as --loss NAME what the trials are to learn from"
            )
        self.recipe.machine.check_alone()

    def _measured(self, trial: Trial, measures: Measures) -> Outcome:
        proposal = retry(lambda: self.space.propose(self.recipe, trial, measures.num_ids))
        retry(lambda: trial.set_user_attr("changes", proposal.overrides))
        if architecture := proposal.architecture:
            retry(lambda: trial.set_user_attr("architecture", architecture.to_dict()))
        file = self.recipe.architecture
        name = trial.user_attrs.get("place", f"by-hand-{trial.number}")
        folder, since = self.place.folder / "trials" / str(name), time.monotonic()
        score = measures(
            apply_overrides(self.recipe, proposal.overrides),
            architecture or (read_architecture(file) if file else None),
            folder,
            lambda epoch, mAP: self._is_pruned(trial, epoch, mAP),
        )
        found = {
            "mAP": score.value,
            "parameters": score.parameters,
            "multiply_adds": score.cost,
            "minutes": round((time.monotonic() - since) / 60, 2),
        }
        retry(lambda: trial.set_user_attr("score", found))
        values = [score.value, score.cost][: len(self.tuning.directions)]
        return Outcome(values=values, pruned=score.pruned)

    def _is_pruned(self, trial: Trial, epoch: int, mAP: float) -> bool:
        if len(self.tuning.directions) > 1:
            return False
        retry(lambda: trial.report(mAP, epoch))
        return retry(trial.should_prune)

    def _beforehand(self, num_trials: int | None) -> list[dict[str, Any]]:
        """For each trial what is decided before the sampler is asked."""
        if self.tuning.sampler != "grid":
            return [{}] * (TRIALS if num_trials is None else num_trials)
        grid = self.space.grid()
        if num_trials not in (None, len(grid)):
            raise ValueError(
                f"the grid of the space {self.space.name!r} has {len(grid)} points, and --trials is "
                f"{num_trials}: leave --trials out, or take --sampler tpe"
            )
        return grid

    def _joined(self) -> Study:
        sampler = Seeded(SAMPLERS[self.tuning.sampler], self.recipe.seed)
        training = self.recipe.retrain
        facts = {
            "recipe": self.run.name,
            "space": self.space.name,
            "tuning": portable(self.tuning),
            "config": {name: portable(getattr(self.recipe, name)) for name in DECIDES},
        }
        return join_study(
            self.storage,
            self.place.address,
            self.place.name,
            facts,
            self.tuning.directions,
            sampler,
            pruner(self.tuning.pruner, training.epochs, training.validate_every),
        )


def on_held_out(recipe: Recipe, tuning: Tuning) -> Recipe:
    """The recipe on its training identities alone, validated often enough to be pruned."""
    training = recipe.retrain
    if tuning.pruner != "none" and not training.validate_every:
        training = replace(training, validate_every=max(1, training.epochs // 10))
    return replace(recipe, data=recipe.task.held_out(recipe.data, tuning.held_out, recipe.seed), retrain=training)


def taught(run: Run) -> Trainer:
    """What trains proposals, once the run's teacher is trained; of several processes in its folder one trains it."""
    teacher = run.recipe.teacher
    if teacher is not None and teacher.weights is None:
        teach_once(run)
    recipe = run.recipe
    data = recipe.load()
    return Trainer(recipe, data, run_teacher(run, data, Stage(run.folder, "tune", "", recipe.machine)))
