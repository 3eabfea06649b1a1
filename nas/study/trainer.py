"""What a proposal is worth: it is trained on a part of the training set and measured on what is held out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.recipe import Recipe
from nas.study.objective import train_and_value
from nas.tasks.base import image_size
from nas.training.build import build_network
from nas.training.stage import Stage
from nas.training.train import PruneCallback
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from students.space import StudentModule
from teachers.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a trained proposal reaches on the held-out part, and costs without its classifier."""

    mAP: float
    parameters: int
    multiply_adds: int
    pruned: bool = False


class Trainer:
    """Trains one proposal after the other on the data of a recipe, which is read once, under one teacher."""

    def __init__(self, recipe: Recipe, data: Any, teacher: Teacher | None) -> None:
        self.data, self.teacher, self.num_ids = data, teacher, len(data.identities)
        self.part, self.held_out = recipe.task.train_part(data, recipe), recipe.task.test_part(data, recipe)

    def __call__(self, recipe: Recipe, architecture: Architecture | None, folder: Path, report: PruneCallback) -> Score:
        """Trains the recipe's student; `folder` keeps its history. Raises NonFiniteLoss when the training diverges."""
        shutil.rmtree(folder, ignore_errors=True)
        task, training = recipe.task, recipe.retrain
        stage = Stage(folder, "retrain", "", recipe.machine, tells=False)
        space = recipe.retrained.with_ids(self.num_ids)
        network = build_network(space, architecture, self.data.identities, training, recipe.seed)
        batches = task.batches(self.data, self.part, training, recipe.seed, stage)

        def value(net: StudentModule) -> float:
            return task.value(net.inference(), self.held_out, recipe, stage)

        mAP, pruned = train_and_value(recipe, network, batches, training, stage, self.teacher, value, report)
        counted = cost(task.deployed(network.net.inference()), *image_size(task, recipe))
        return Score(mAP=mAP, parameters=counted.parameters, multiply_adds=counted.multiply_adds, pruned=pruned)
