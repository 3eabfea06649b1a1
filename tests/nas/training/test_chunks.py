"""Two processes train as one does that takes their batches as the chunks of a larger one: BatchNorm's statistics and
triplets are of a chunk, gradients are the mean."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.data.batches import Batch
from nas.losses.labels import LabelLoss
from nas.strategies.darts import DARTS
from nas.training import gradients
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.relaxed import Supernet
from tests.nas.strategies.toys import KDAS, Classify, Pictures, batch
from tests.ranks import ended, ranks

RANKS, EPOCHS, STEPS = 2, 2, 3
CLOSE = 1e-12
WEIGHTS, ALPHAS = SGD(lr=0.05, weight_decay=1e-2), Adam(lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3)
TRAINING = Training(epochs=EPOCHS, optimiser=WEIGHTS, clip=1.0)
SEARCHES = {
    f"order {order}": DARTS(epochs=EPOCHS, order=order, weights=WEIGHTS, alphas=ALPHAS, clip=1.0) for order in (1, 2)
}
State = dict[str, Tensor]


class Own(Classify):
    """The batches of one process."""

    def __init__(self, rank: int) -> None:
        super().__init__(num_steps=STEPS)
        self.rank = rank

    def __len__(self) -> int:
        return STEPS

    def __call__(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return (Batch(*batch(self.rank, 2, epoch, step, dtype=torch.float64)) for step in range(start, STEPS))

    def weight_batches(self, epoch: int, start: int = 0) -> list[Pictures]:
        return [batch(self.rank, 0, epoch, step, dtype=torch.float64) for step in range(start, STEPS)]

    def alpha_batches(self, epoch: int, start: int = 0) -> list[Pictures]:
        return [batch(self.rank, 1, epoch, step, dtype=torch.float64) for step in range(start, STEPS)]


class Double(Stage):
    """A stage of double precision, which keeps what its loop trains."""

    def prepare(self, net: nn.Module) -> nn.Module:
        return super().prepare(net).double()

    def loop(self, num_epochs, num_steps, parts):
        self.parts = parts
        return super().loop(num_epochs, num_steps, parts)


def trained(kind: str, rank: int, stage: Double) -> State:
    """What one of the processes ends with."""
    torch.manual_seed(0)
    if kind == "retraining":
        train(KDAS.student(), Own(rank), LabelLoss(), TRAINING, stage)
        return stage.parts["net"].state_dict()
    SEARCHES[kind].search(KDAS, Own(rank), stage)
    return stage.parts["supernet"].state_dict()


class Chunks:
    """One network whose loss is the mean over chunks, each of which has running statistics of its own."""

    def __init__(self, net: nn.Module, loss: Callable[[Callable[[Tensor], object], Pictures], Tensor]) -> None:
        self.net, self.loss = net.double().train(), loss
        self.statistics = [self._copied(dict(net.named_buffers())) for _ in range(RANKS)]

    def mean(self, chunks: Sequence[Pictures], weights: State | None = None, keep: bool = False) -> Tensor:
        """The loss, where the network has these `weights`, if they are given; `keep`: statistics stay as they are."""
        losses = []
        for statistics, chunk in zip(self.statistics, chunks, strict=True):
            own = {**(weights or {}), **(self._copied(statistics) if keep else statistics)}
            losses.append(self.loss(lambda x, own=own: functional_call(self.net, own, (x,)), chunk))
        return sum(losses) / RANKS

    def end_epoch(self) -> None:
        mean = {
            name: torch.stack([statistics[name] for statistics in self.statistics]).mean(dim=0)
            if buffer.is_floating_point()
            else buffer
            for name, buffer in self.statistics[0].items()
        }
        self.statistics = [self._copied(mean) for _ in range(RANKS)]

    def state(self) -> State:
        return {**self.net.state_dict(), **self.statistics[0]}

    def _copied(self, buffers: State) -> State:
        return {name: buffer.clone() for name, buffer in buffers.items()}


def stepped(optimiser: torch.optim.Optimizer, of: list[Tensor], total: Tensor, clip: float | None = None) -> None:
    for parameter, gradient in zip(of, torch.autograd.grad(total, of, materialize_grads=True), strict=True):
        parameter.grad = gradient
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(of, clip)
    optimiser.step()


def sgd_of(weights: list[Tensor]) -> torch.optim.SGD:
    return torch.optim.SGD(weights, WEIGHTS.lr, WEIGHTS.momentum, weight_decay=WEIGHTS.weight_decay)


def retrained_in_chunks() -> State:
    torch.manual_seed(0)
    chunks = Chunks(KDAS.student(), lambda net, pictures: LabelLoss()(net(pictures.images), pictures, 0.0)["total"])
    weights = list(chunks.net.parameters())
    sgd = sgd_of(weights)
    for epoch in range(EPOCHS):
        for own in zip(*(Own(rank)(epoch) for rank in range(RANKS)), strict=True):
            stepped(sgd, weights, chunks.mean(own), TRAINING.clip)
        chunks.end_epoch()
    return chunks.state()


def searched_in_chunks(strategy: DARTS) -> State:
    torch.manual_seed(0)
    supernet = Supernet.of(KDAS, folded=False)
    chunks = Chunks(supernet, lambda net, pictures: Classify().loss(net, pictures, 0)["total"])
    weights = dict(supernet.net.named_parameters(prefix="net"))
    sgd = sgd_of(list(weights.values()))
    adam = torch.optim.Adam([supernet.alpha], ALPHAS.lr, ALPHAS.betas, weight_decay=ALPHAS.weight_decay)
    owners = [Own(rank) for rank in range(RANKS)]

    def after_a_step(own: Sequence[Pictures]) -> State:
        inner = chunks.mean(own, keep=True)
        gradients = torch.autograd.grad(inner, list(weights.values()), create_graph=True, materialize_grads=True)
        moved = {}
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            buffer = sgd.state[weight].get("momentum_buffer", 0.0)
            moved[name] = weight - WEIGHTS.lr * (WEIGHTS.momentum * buffer + gradient + WEIGHTS.weight_decay * weight)
        return moved

    for epoch in range(EPOCHS):
        halves = [[getattr(own, half)(epoch) for own in owners] for half in ("weight_batches", "alpha_batches")]
        for own, validation in zip(*(zip(*half, strict=True) for half in halves), strict=True):
            if strategy.order == 2:
                stepped(adam, [supernet.alpha], chunks.mean(validation, after_a_step(own), keep=True))
            stepped(sgd, list(weights.values()), chunks.mean(own), strategy.clip)
            if strategy.order == 1:
                stepped(adam, [supernet.alpha], chunks.mean(validation, keep=True))
        chunks.end_epoch()
    return chunks.state()


IN_CHUNKS = {
    "retraining": retrained_in_chunks,
    **{name: lambda strategy=strategy: searched_in_chunks(strategy) for name, strategy in SEARCHES.items()},
}


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    """The folder in which each process has left its states."""
    folder = tmp_path_factory.mktemp("ranks")
    found = ended(ranks([__file__, str(folder)], RANKS), seconds=600)
    assert [each.status for each in found] == [0] * RANKS, found
    return folder


@pytest.mark.medium
@pytest.mark.parametrize("kind", IN_CHUNKS)
def test_processes_train_as_one_that_takes_their_batches_as_chunks(of_ranks, kind):
    states = [torch.load(of_ranks / f"{kind}.{rank}") for rank in range(RANKS)]
    one = IN_CHUNKS[kind]()
    assert states[0].keys() <= one.keys() and any("running_mean" in name for name in states[0])
    for name, tensor in states[0].items():
        assert all(torch.equal(tensor, state[name]) for state in states), name
        if tensor.is_floating_point():  # nothing reads BatchNorm's counters of forward passes
            assert (tensor - one[name]).abs().max() <= CLOSE, name


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    gradients.BUCKET_BYTES = 2**10
    machine = Machine(device="cpu", devices=RANKS)
    rank = machine.fabric().global_rank
    for kind in IN_CHUNKS:
        state = trained(kind, rank, Double(folder / kind, "search", "", machine, quiet=True))
        torch.save(state, folder / f"{kind}.{rank}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
