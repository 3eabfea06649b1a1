"""What a proposal is worth: it is trained on some identities and measured on those held out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from nas.models.network import feature_net
from nas.recipe import Recipe
from nas.run import Run
from nas.stages.teacher import load_teacher
from nas.strategies.base import PruneCallback
from nas.tasks.reid.features import extract
from nas.tasks.reid.feed import batches_of, cached
from nas.training.build import build_network
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a trained proposal reaches on the held-out identities, and costs without its classifier."""

    mAP: float
    parameters: int
    multiply_adds: int
    pruned: bool = False


class Trainer:
    """Trains one proposal after the other on the run's data, which is decoded once, under its teacher."""

    def __init__(self, run: Run) -> None:
        recipe, self.data = run.recipe, run.recipe.load()
        self.train, self.query, self.gallery = (cached(split, recipe.images) for split in self.data.splits.values())
        self.teacher = load_teacher(run, self.data, Stage(run.folder, "tune", "", recipe.machine))

    @property
    def num_ids(self) -> int:
        return len(self.data.identities)

    def __call__(self, recipe: Recipe, architecture: Architecture | None, folder: Path, report: PruneCallback) -> Score:
        """Trains the recipe's student; `folder` keeps its history. Raises NonFiniteLoss when the training diverges."""
        shutil.rmtree(folder, ignore_errors=True)
        stage, training = Stage(folder, "retrain", "", recipe.machine), recipe.retrain
        network = build_network(recipe.retrained.with_ids(self.num_ids), architecture, self.data, training, recipe.seed)
        batches = batches_of(self.data, self.train, training.sampling, training.augment, recipe.seed, stage)

        loop = train(
            network.net,
            batches,
            recipe.loss,
            training,
            stage,
            self.teacher,
            lambda net: self._mAP(net, recipe, stage),
            report,
        )
        stage.checkpoint.unlink()
        mAP = loop.history[-1].get("mAP")
        counted = cost(feature_net(network.net.inference()), recipe.images.height, recipe.images.width)
        return Score(
            mAP=self._mAP(network.net, recipe, stage) if mAP is None else mAP,
            parameters=counted.parameters,
            multiply_adds=counted.multiply_adds,
            pruned=bool(loop.stopped),
        )

    def _mAP(self, net: nn.Module, recipe: Recipe, stage: Stage) -> float:
        how = recipe.evaluation
        return extract(net.inference(), self.query, self.gallery, stage, how).evaluate(how).mAP
