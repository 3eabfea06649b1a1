"""What an architecture is worth in a search: it is trained on the weights' half and measured on the alphas'."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace

import torch
from torch import nn

from nas.data.base import ReIDData
from nas.data.batches import Batches
from nas.data.cache import CachePart
from nas.errors import NonFiniteLoss
from nas.models.network import feature_net
from nas.recipe import Recipe
from nas.strategies.base import PruneCallback, Score
from nas.study.joint import split_decisions
from nas.study.overrides import apply_overrides
from nas.system.config import fingerprint
from nas.tasks.reid.features import extract
from nas.training.build import build_network
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from search_spaces.cost.latency import latency
from students.reid import ReIDSpace
from teachers.teacher import Teacher


@dataclass(frozen=True)
class Trials:
    """The trials of one search. A trial trains as the recipe retrains, with the search's batches."""

    recipe: Recipe
    data: ReIDData
    stage: Stage
    teacher: Teacher | None
    batches: Batches
    query: CachePart
    gallery: CachePart

    def value(self, net: nn.Module) -> float:
        """The mAP of a network as it stands. Raises ValueError when nothing can be measured."""
        self._check()
        how = self.recipe.evaluation
        return extract(net, self.query, self.gallery, self.stage, how).evaluate(how).mAP

    def cost(self, architecture: Architecture) -> float:
        """Multiply-adds of one image without the classifier; or milliseconds, for an image alone, on this machine."""
        images, space, (architecture, _) = self.recipe.images, self._space, split_decisions(architecture, self.recipe)
        if self.recipe.search.cost == "multiply_adds":
            with torch.device("meta"):
                net = feature_net(space.student(architecture).inference())
            return cost(net, images.height, images.width).multiply_adds
        net = self.stage.prepare(feature_net(space.student(architecture).inference()))
        with self.stage.autocast():
            return latency(net, images.height, images.width, device=self.stage.fabric.device)

    def score(self, architecture: Architecture, epochs: int, report: PruneCallback | None = None) -> Score:
        """A network whose training diverges has the value 0, with a warning.

        Raises ValueError when nothing can be measured.
        """
        self._check()
        own, changes = split_decisions(architecture, self.recipe)
        recipe = apply_overrides(self.recipe, changes)
        training = replace(recipe.retrain, epochs=epochs, validate_every=int(report is not None))
        stage = self._stage(architecture, epochs)
        network = build_network(self._space, own, self.data, training, recipe.seed)
        value, since, before = 0.0, time.monotonic(), stage.seconds
        try:
            loop = train(
                network.net,
                self.batches,
                recipe.loss,
                training,
                stage,
                self.teacher,
                lambda net: self.value(net.inference()),
                report,
            )
            value = loop.history[-1].get("mAP")
            if value is None:
                value = self.value(network.net.inference())
        except NonFiniteLoss as error:
            warnings.warn(f"the trial of {architecture.hash} counts as mAP 0: {error}", stacklevel=2)
        stage.checkpoint.unlink(missing_ok=True)
        return Score(
            value, self.cost(architecture), before + time.monotonic() - since, pruned=value > 0 and bool(loop.stopped)
        )

    def _check(self) -> None:
        if not len(self.query):
            raise ValueError(
                f"{self.data.name}: no identity of the half that trials are measured on is seen by two cameras "
                "there: take more images, or a strategy that measures nothing, such as darts or gdas"
            )

    @property
    def _space(self) -> ReIDSpace:
        return self.recipe.space.with_ids(len(self.data.identities))

    def _stage(self, architecture: Architecture, epochs: int) -> Stage:
        """Of a trial's own, so that a killed one goes on."""
        folder = self.stage.folder / f"{self.stage.name}.trials" / architecture.hash
        return Stage(
            folder,
            "retrain",
            fingerprint(self.stage.fingerprint, epochs),
            self.stage.machine,
            self.stage.fabric,
            quiet=True,
        )
