"""What a proposal is worth: it is trained on a part of the training set and measured on what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.recipe import Recipe
from nas.strategies.base import Score
from nas.study.objective import train_and_score
from nas.system.config import fingerprint
from nas.training.build import build_network
from nas.training.stage import Stage
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from students.space import StudentModule
from teachers.teacher import BatchTeacher


class Trainer:
    """Trains one proposal after the other on the data of a recipe, which is read once, under one teacher."""

    def __init__(self, recipe: Recipe, data: Any, teacher: BatchTeacher | None) -> None:
        self.data, self.teacher, self.num_ids = data, teacher, len(data.identities)
        self.part, self.held_out = recipe.task.train_part(data, recipe), recipe.task.test_part(data, recipe)

    def __call__(self, recipe: Recipe, architecture: Architecture | None, folder: Path, report: PruneCallback) -> Score:
        """Trains the recipe's student, from where another worker was killed in `folder`, which keeps its history.

        Raises NonFiniteLoss when the training diverges.
        """
        task, training = recipe.task, recipe.retrain
        key = fingerprint(
            recipe.retrained, recipe.loss, recipe.retrain, recipe.seed, architecture and architecture.hash
        )
        stage = Stage(folder, "retrain", key, recipe.machine, tells=False)
        space = recipe.retrained.with_ids(self.num_ids)
        network = build_network(space, architecture, self.data.identities, training, recipe.seed)
        batches = task.batches(self.data, self.part, training, recipe.seed, stage)

        def value(net: StudentModule) -> float:
            return task.value(net.inference(), self.held_out, recipe, stage)

        with stage.working():
            return train_and_score(recipe, network, batches, training, stage, self.teacher, value, report)
