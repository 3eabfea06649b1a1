"""Steps that are replayed are those that are launched, with a stand-in for CUDA's capture: it sees no Python either."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.data import splits
from nas.data.augment import Augment
from nas.data.batches import Batch, Batches
from nas.data.cache import ImageCache
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from nas.losses.kdas import KDASLoss
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.strategies.gdas import GDAS
from nas.study.objective import SearchObjective
from nas.training import graphs
from nas.training.graphs import WARM_UPS, Graphs
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam, CosineLR, place_numbers, step
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.cell import Cells
from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.teacher import Teacher
from teachers.temperature import Linear

STATISTICS = {"native_batch_norm", "cudnn_batch_norm", "_batch_norm_impl_index"}
"""Operations that change what they take without saying so."""
SOURCE = Pedestrians(num_train_ids=4, num_test_ids=1, images_per_id=8, height=32, width=16)
LOSS = KDASLoss(temperature=Linear(start=2.0, end=0.0, until=0.6), triplet_weight=0.1)
NUM_EPOCHS = 5
SPACE = ReID(backbone=Cells(channels=4, cells=1, reductions=()), num_ids=4, embedding_dim=8)
"""So shallow that rounding stays rounding over a few epochs."""


class Tape(TorchDispatchMode):
    """Keeps the operations with the very tensors that they read and wrote, and runs them again on those. As a capture
    does, recording leaves everything as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        changes = func._schema.is_mutable or name in STATISTICS
        if changes:
            taken = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
            self.before += [(tensor, tensor.clone()) for tensor in taken]
        out = func(*args, **kwargs)
        makes = not func.is_view and not func._schema.is_mutable and "empty" not in name
        self.calls.append((func, args, kwargs, out if makes else ()))
        return out

    def __exit__(self, *error):
        super().__exit__(*error)
        with torch.no_grad():
            for tensor, before in reversed(self.before):
                tensor.copy_(before)

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self.calls:
                again = tree_leaves(func(*args, **kwargs))
                for kept, new in zip(tree_leaves(out), again, strict=False):
                    if isinstance(kept, Tensor):
                        kept.copy_(new)


@pytest.fixture
def taped(monkeypatch) -> list[str]:
    """The names of what happens in the place of CUDA's part."""
    done: list[str] = []

    def captured(take):
        tape = Tape()
        with tape:
            losses = take()
        done.append("captured")
        return lambda: done.append("replayed") or tape.replay(), losses

    monkeypatch.setattr(graphs, "captured", captured)
    monkeypatch.setattr(graphs, "beside", lambda take: done.append("launched") or take())
    adam = sys.modules[torch.optim.Adam.__module__]
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda *_: ["cpu", "cuda"])
    return done


def asked_for(monkeypatch, said: list[str]) -> None:
    """Lets stages replay, as if there were a GPU."""
    monkeypatch.setattr(Stage, "graphs", lambda self, why_not="": Graphs(not why_not, said.append))


def batches(seed: int = 0, indices: np.ndarray | None = None) -> Batches:
    data = SOURCE.load()
    sampling, augment = ClassBalanced(num_ids=2, images_per_id=2), Augment(crop_padding=2)
    return Batches(ImageCache(data.train, 32, 16), data.train_labels, sampling, augment, seed, indices=indices)


def teacher() -> Teacher:
    torch.manual_seed(7)
    return Teacher(ReID(backbone=ResNet(width=1 / 16), num_ids=4, embedding_dim=8).student(), nullcontext)


def weights(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def trained(folder, optimiser) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict]]:
    """The weights before and after, and the history."""
    torch.manual_seed(0)
    net = SPACE.student()
    start, training = weights(net), Training(epochs=NUM_EPOCHS, optimiser=optimiser, clip=5.0)
    loop = train(net, batches(), LOSS, training, Stage(folder, "retrain", "", Machine(device="cpu")), teacher())
    return start, weights(net), loop.history


def difference(found: dict[str, Tensor], expected: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """How far two ends are from each other, in shares of the way to one of them."""
    apart, way = (
        torch.cat([(one[name] - other[name]).flatten() for name in start]).norm()
        for one, other in ((found, expected), (expected, start))
    )
    return (apart / way).item()


@pytest.mark.medium
@pytest.mark.parametrize(
    "optimiser", [SGD(lr=1e-3, rate=CosineLR(final=0.1)), Adam(lr=1e-4, rate=CosineLR(final=0.1))], ids=["SGD", "Adam"]
)
def test_a_training_follows_rates_and_temperatures(tmp_path, monkeypatch, taped, optimiser):
    start, expected, plain = trained(tmp_path / "plain", optimiser)
    said: list[str] = []
    asked_for(monkeypatch, said)
    _, found, history = trained(tmp_path / "replayed", optimiser)
    assert difference(found, expected, start) < 0.01
    assert [line["lr"] for line in history] == pytest.approx([line["lr"] for line in plain])
    assert [line["loss"]["total"] for line in history] == pytest.approx(
        [line["loss"]["total"] for line in plain], rel=1e-4
    )
    assert not said and taped.count("captured") == 2  # T above 0, and T = 0
    assert taped.count("launched") == 2 * WARM_UPS and taped.count("replayed") == NUM_EPOCHS * 8 - 2 * WARM_UPS


def searched(folder, strategy: DARTS) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    supernet = strategy.supernet(SPACE)
    start = weights(supernet)
    halves = splits.by_image(SOURCE.load().train_labels, np.random.default_rng(0))
    drawn = [batches(seed, half) for seed, half in enumerate(halves)]
    objective = SearchObjective(LOSS, drawn[0], drawn[1], teacher(), NUM_EPOCHS)
    stage = Stage(folder, "search", "", Machine(device="cpu"))
    bilevel = Bilevel(strategy, supernet, objective, stage)
    bilevel.replay(stage.graphs(strategy.no_graphs))
    for epoch in range(NUM_EPOCHS):
        for train_batch, validation in zip(
            objective.weight_batches(epoch), objective.alpha_batches(epoch), strict=True
        ):
            strategy.weights.set_rate(bilevel.weight_optimiser, epoch, NUM_EPOCHS)
            bilevel.weight_step(train_batch, epoch)
            bilevel.alpha_step(train_batch, validation, epoch)
    return start, weights(supernet)


@pytest.mark.medium
def test_a_search_follows_rates_and_temperatures(tmp_path, monkeypatch, taped):
    strategy = DARTS(epochs=NUM_EPOCHS, weights=SGD(lr=1e-3, rate=CosineLR(final=0.1)))
    start, expected = searched(tmp_path / "plain", strategy)
    said: list[str] = []
    asked_for(monkeypatch, said)
    _, found = searched(tmp_path / "replayed", strategy)
    assert difference(found, expected, start) < 0.01
    assert difference({"alpha": found["alpha"]}, {"alpha": expected["alpha"]}, {"alpha": start["alpha"]}) < 0.01
    assert not said and taped.count("captured") == 4 and taped.count("replayed") > taped.count("launched")


@pytest.mark.parametrize("strategy", [GDAS(), DARTS(order=2)], ids=["GDAS", "second order"])
def test_strategies_whose_steps_cannot_be_graphs_say_so(tmp_path, capsys, strategy):
    stage = Stage(tmp_path, "search", "", Machine(device="cpu", graphs=True))
    stage.fabric = SimpleNamespace(device=torch.device("cuda:0"), world_size=1)
    assert not stage.graphs(strategy.no_graphs).on
    assert f"search: no CUDA graphs, as {strategy.no_graphs}" in capsys.readouterr().err


def test_where_steps_are_replayed_a_teacher_has_a_stream_of_its_own(tmp_path, monkeypatch):
    """The fabric and the stream stand for those of a GPU."""
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"a stream of {device}")
    on_a_gpu = SimpleNamespace(device=torch.device("cuda:0"))
    for asked, device, expected in ((True, "cuda", "a stream of cuda:0"), (False, "cuda", None), (True, "cpu", None)):
        stage = Stage(tmp_path, "search", "", Machine(device="cpu", graphs=asked))
        if device == "cuda":
            stage.fabric = on_a_gpu
        assert stage.side_stream() == expected


def test_without_a_gpu_a_line_says_so_where_they_are_asked_for(tmp_path, capsys):
    assert not Stage(tmp_path, "search", "", Machine(device="cpu")).graphs().on
    assert not capsys.readouterr().err
    assert not Stage(tmp_path, "search", "", Machine(device="cpu", graphs=True)).graphs().on
    assert "search: no CUDA graphs, as there is no GPU" in capsys.readouterr().err


class TestGraphs:
    def step(self, batch):
        return {"total": batch.images.sum()}

    def batch(self, value: float, size: int = 2) -> Batch:
        return Batch(torch.full((size,), value), torch.zeros(size))

    def test_a_step_that_asks_for_a_number_is_launched_and_why_is_said(self, taped):
        said: list[str] = []
        replayed = Graphs(True, said.append)
        for value in range(6):
            losses = replayed.run(
                "network", lambda batch: {"total": torch.tensor(batch.images.sum().item())}, self.batch(value)
            )
            assert losses["total"] == 2 * value
        assert "replayed" not in taped and said == [
            "no CUDA graph of the step of the network, each kernel is launched by itself: operation not permitted when "
            "stream is capturing"
        ]

    def test_another_shape_and_other_constants_are_captured_again(self, taped):
        replayed = Graphs(True, print)
        for constants, size in [("a", 2), ("a", 3), ("b", 3), ("a", 2)]:
            for value in range(WARM_UPS + 2):
                assert replayed.run("x", self.step, self.batch(value, size), constants)["total"] == size * value
        assert taped.count("captured") == 4 and taped.count("replayed") == 8

    def test_losses_are_no_longer_the_graphs(self, taped):
        replayed = Graphs(True, print)
        found = [replayed.run("x", self.step, self.batch(value))["total"] for value in range(6)]
        assert [loss.item() for loss in found] == [0, 2, 4, 6, 8, 10]

    def test_where_none_is_asked_for_steps_are_taken_as_they_are(self, taped):
        Graphs(False, print).run("x", self.step, self.batch(1.0))
        assert not taped


@pytest.mark.parametrize("kind", [SGD(lr=0.1), Adam(lr=0.1), SGD(lr=0.1, momentum=0.0)], ids=str)
def test_numbers_on_the_device_give_the_same_steps(taped, kind):
    nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimisers = [kind.build(net.parameters()) for net in nets]
    for place, on_device in enumerate([False, True, True, False, True]):
        state = optimisers[1].state_dict()
        optimisers[1].load_state_dict(state)
        place_numbers(optimisers[1], on_device)
        for net, optimiser in zip(nets, optimisers, strict=True):
            kind.set_rate(optimiser, place, 5)
            step(optimiser, [torch.ones_like(each) * (place + 1) for each in net.parameters()])
    for found, expected in zip(*(net.parameters() for net in reversed(nets)), strict=True):
        torch.testing.assert_close(found, expected)
