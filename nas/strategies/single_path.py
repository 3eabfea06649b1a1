"""Single-path one-shot search (Guo et al. 2020): shared weights by sampled paths, then evolution over what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import monotonic
from typing import Self, cast

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from nas.strategies.autograd import learning_paused
from nas.strategies.base import Batch, Losses, Objective, OneShotSearch, Score, SearchResult, Stage
from nas.strategies.evolution import Evolution
from nas.strategies.trials import Trial, found, known, ranked
from nas.training.optimisers import SGD, CosineLR, Optimiser, current_rate, step
from search_spaces.architecture import Answer, Architecture, parse_edge
from search_spaces.ranges import Count, CountOrZero, Positive
from search_spaces.relaxed import NONE, Relaxed, Supernet, rows_of_edges
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class SinglePath(OneShotSearch):
    """Trains a supernet by one random path at a time, then evolves architectures scored with the weights they share.

    The path of a batch is drawn by chance, every answer alike (section 3.3). Before a path is scored, its BatchNorms
    take their statistics anew from training batches (section 3.4). Several processes train the same paths, each on a
    batch of its own, and the first one's scores count. Of the paper's 20 generations of 50 the default is
    one fifth; parents compete as in regularised evolution, where the paper crosses the ten best.
    """

    epochs: Count = 120
    """Epochs in which the supernet is trained."""
    weights: Optimiser = field(default_factory=lambda: SGD(lr=0.1, rate=CosineLR(final=0.01)))
    clip: Positive | None = 5.0
    """Largest norm of the weights' gradient; None: it is not clipped."""
    fair: bool = False
    """Whether a step takes as many paths as the widest decision has answers, and each answer equally often (strict
    fairness, Chu et al. 2021). Where a node keeps some of its inputs, these are drawn by chance for each path."""
    trials: Count = 200
    """Architectures that evolution scores."""
    minutes: Positive | None = None
    """Minutes of search after which no trial begins, but for the first, and none is retrained; the weights train all
    their epochs. None: no limit."""
    population: Count = 20
    """Architectures in the population of the evolution; the first ones are drawn by chance."""
    sample: Count = 5
    """How many of the population compete to be the parent."""
    recalibration: Count = 10
    """Training batches from which a path's BatchNorms take their statistics."""
    num_retrained: CountOrZero = 0
    """Architectures, from the best to the worst tried, that are trained from scratch at the end for Kendall's tau
    between their scores with shared and with own weights; 0: none."""
    retrained_epochs: Count = 10
    """Epochs for which each of the `num_retrained` architectures is trained from scratch."""
    num_ranked: Count = 20
    """Length of the ranked list that a search ends with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample > self.population:
            raise self.out_of_range("sample", f"be at most the population, {self.population}")
        if self.num_retrained == 1 or self.num_retrained > self.trials:
            raise self.out_of_range("num_retrained", f"be 0, or from 2 to trials, {self.trials}, to be ranked")

    def small(self) -> Self:
        return replace(self, epochs=2, trials=3, recalibration=2)

    def check(self, space: SearchSpace) -> None:
        with torch.device("meta"):
            self.supernet(space)

    def supernet(self, space: SearchSpace) -> PathSupernet:
        """The network of all paths. Raises ValueError naming what it cannot keep all answers of."""
        return PathSupernet.of(space)

    def search(self, space: SearchSpace, objective: Objective, stage: Stage) -> SearchResult:
        """One loop: epochs of the weights, then a trial for each of the rounds that follow, then the retrainings."""
        seed = torch.initial_seed()
        shared = Shared(self, stage.prepare(self.supernet(space)), objective, stage, seed)
        loop = stage.loop(
            self.epochs + self.trials + self.num_retrained,
            objective.num_steps,
            {"supernet": shared.supernet, "weights": shared.optimiser},
        )
        evolution = Evolution(population=self.population, sample=self.sample)
        history = loop.history[self.epochs :][: self.trials]
        tried = [Trial.from_dict(line, number) for number, line in enumerate(history)]
        for epoch in loop.epochs():
            if epoch < self.epochs:
                shared.supernet.train()
                for at, batch in loop.steps(
                    lambda start, epoch=epoch: enumerate(objective.weight_batches(epoch, start), start)
                ):
                    self.weights.set_rate(shared.optimiser, loop.now, self.epochs)
                    loop.add(shared.train(batch, epoch, at), "weight")
                loop.end_epoch(lr=current_rate(shared.optimiser), **objective.record(epoch))
            elif len(tried) < self.trials:
                number = len(tried)
                proposal = evolution.propose(space, number, tried, np.random.default_rng([seed, number]))
                trial = Trial(number, proposal.architecture, shared.score(proposal.architecture, tried))
                tried.append(trial)
                loop.limit(self.minutes)
                loop.end_epoch(**trial.to_dict(), best=ranked(tried)[0][0])
            else:
                chosen = self.retrained(tried)[epoch - self.epochs - self.trials]
                score = stage.first_says(objective.score(chosen.architecture, self.retrained_epochs))
                loop.end_epoch(
                    inherited=chosen.score.value,
                    retrained=score.value,
                    seconds=score.seconds,
                    architecture=chosen.architecture.to_dict(),
                )
        result = found(tried, loop.history, self.num_ranked)
        return replace(result, score="mAP with shared weights", notes=correlation(loop.history))

    def retrained(self, tried: list[Trial]) -> list[Trial]:
        """Evenly over the ranking from the best to the worst; fewer when fewer were tried."""
        by_architecture = {trial.architecture: trial for trial in tried}
        order = [by_architecture[architecture] for _, architecture in ranked(tried)]
        return [order[round(place)] for place in np.linspace(0, len(order) - 1, self.num_retrained)]


def correlation(history: Iterable[dict]) -> dict[str, object]:
    """Kendall's tau (b) between the scores with shared and with own weights; empty when none was retrained."""
    pairs = [(line["inherited"], line["retrained"]) for line in history if "retrained" in line]
    if not pairs:
        return {}
    return {"kendall_tau": float(kendalltau(*zip(*pairs, strict=True)).statistic), "num_retrained": len(pairs)}


class PathSupernet(Supernet):
    """A supernet whose forward pass computes one architecture, `path`; its alphas are not used."""

    def __init__(self, net: nn.Module, relaxed: Relaxed, space: str) -> None:
        super().__init__(net, relaxed, space)
        self.alpha.requires_grad_(False)
        self.path: Architecture | None = None
        self.on_edges = rows_of_edges(self.nodes)
        self.offered = {
            name: [option for option in options if not (option == NONE and name in self.on_edges)]
            for name, options in self.options.items()
        }

    def mixing(self) -> Sequence[Sequence[Tensor | None]]:
        """1 for what the path decides, None for everything else."""
        one = self.alpha.new_ones(())
        chosen = dict(self._chosen())
        return [
            [one if option == chosen.get(name) else None for option in options]
            for name, options in self.options.items()
        ]

    def _chosen(self) -> Iterator[tuple[str, Answer]]:
        """The name of each row that the path uses, and its operation there."""
        assert self.path is not None
        for name, answer in self.path.decisions.items():
            if name in self.nodes:
                rows = self.nodes[name][0]
                yield from ((rows[source], op) for op, source in map(parse_edge, cast(tuple[str, ...], answer)))
            else:
                yield name, answer

    def draw(self, rng: np.random.Generator) -> Architecture:
        """A path by chance: every answer alike."""
        return self._path({name: offered[rng.integers(len(offered))] for name, offered in self.offered.items()}, rng)

    def draw_fairly(self, rng: np.random.Generator) -> list[Architecture]:
        """As many paths as the widest decision has answers; each decision has all of its answers equally often, but
        for a rest that is drawn."""
        count = max(map(len, self.offered.values()))
        orders = {
            name: [options[place] for place in dealt(len(options), count, rng)]
            for name, options in self.offered.items()
        }
        return [self._path({name: order[number] for name, order in orders.items()}, rng) for number in range(count)]

    def _path(self, ops: dict[str, str], rng: np.random.Generator) -> Architecture:
        decisions: dict[str, Answer] = {name: op for name, op in ops.items() if name not in self.on_edges}
        for node, (rows, keep) in self.nodes.items():
            sources = rng.choice(list(rows), keep, replace=False)
            decisions[node] = tuple(f"{ops[rows[source]]}@{source}" for source in map(int, sources))
        return Architecture(self.space, {**self.decided, **decisions})


def dealt(num_options: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` places among the options, each equally often but for a rest; in random order."""
    rounds = [rng.permutation(num_options) for _ in range(-(-count // num_options))]
    return rng.permutation(np.concatenate(rounds)[:count])


class Shared:
    """The weights that all paths share: how they are trained, and what they say of one path."""

    def __init__(
        self, strategy: SinglePath, supernet: PathSupernet, objective: Objective, stage: Stage, seed: int
    ) -> None:
        self.strategy, self.supernet, self.objective, self.stage, self.seed = strategy, supernet, objective, stage, seed
        self.parameters = list(supernet.net.parameters())
        self.optimiser = strategy.weights.build(self.parameters)
        self._images: list[Tensor] = []

    def train(self, batch: Batch, epoch: int, at: int) -> Losses:
        """One step, of the weights on the drawn path or paths alone; the others rest."""
        rng = np.random.default_rng((self.seed, epoch, at))
        paths = self.supernet.draw_fairly(rng) if self.strategy.fair else [self.supernet.draw(rng)]
        gradients: list[Tensor | None] = [None] * len(self.parameters)
        for self.supernet.path in paths:
            with self.stage.autocast():
                losses = self.objective.loss(self.supernet, batch, epoch)
            new = torch.autograd.grad(losses["total"], self.parameters, allow_unused=True)
            gradients = [added(*pair) for pair in zip(gradients, new, strict=True)]
        used = iter(self.stage.mean([gradient for gradient in gradients if gradient is not None]))
        step(
            self.optimiser, [gradient if gradient is None else next(used) for gradient in gradients], self.strategy.clip
        )
        return losses

    def score(self, architecture: Architecture, before: list[Trial]) -> Score:
        """What the shared weights say of an architecture; one that was tried before keeps its score."""
        if score := known(architecture, before):
            return score
        since = monotonic()
        value = self.value(architecture)
        return self.stage.first_says(Score(value, self.objective.cost(architecture), monotonic() - since))

    def value(self, architecture: Architecture) -> float:
        """Of the path with its own BatchNorm statistics."""
        self.supernet.path = architecture
        if not self._images:
            batches = self.objective.weight_batches(0)
            self._images = [batch.images for batch in islice(batches, self.strategy.recalibration)]
        with statistics_of(self.supernet, self._images):
            return self.objective.value(self.supernet)


def added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


@contextmanager
def statistics_of(net: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Lets BatchNorms have the mean of the statistics of `batches` for a while, in eval mode."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    statistics = [each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None]
    kept = [each.clone() for each in statistics]
    net.train()
    try:
        with torch.no_grad(), learning_paused(net.modules()):
            for place, images in enumerate(batches):
                for norm in norms:
                    norm.momentum = 1 / (place + 1)
                net(images)
        net.eval()
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for now, before in zip(statistics, kept, strict=True):
            now.copy_(before)
