"""Whole steps as a GPU would take them, without one: nothing lies on the host, the host waits for nothing, and kernels
are few. See `nas.bench.kernels`; evaluation is in `tests/nas/tasks/reid/test_on_a_gpu.py`."""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.bench.kernels import Kernels, as_on_a_gpu
from nas.data.batches import Batch
from nas.losses import LOSSES
from nas.losses.base import Loss
from nas.strategies.bilevel import Bilevel
from nas.strategies.cost_penalty import CostPenalty
from nas.strategies.darts import DARTS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS
from nas.training.gradients import gradients_of
from nas.training.optimisers import SGD, Adam, Optimiser
from nas.training.train import training_step
from search_spaces.cell import Cells
from search_spaces.cost.candidates import MultiplyAdds
from search_spaces.ops import stripes
from search_spaces.resnet import ResNet
from students.ksl import KSL
from students.named import STUDENTS
from students.reid import ReID
from students.space import StudentSpace
from teachers.directional import Directional
from teachers.teacher import Teacher

META = torch.device("meta")
STAGE = SimpleNamespace(autocast=nullcontext, gradients=gradients_of, mean=list)
TINY = ReID(backbone=Cells(channels=8, cells=1, reductions=()), num_ids=7, embedding_dim=6)


class Objective:
    """A loss at one temperature."""

    def __init__(self, loss: Loss, temperature: float) -> None:
        self.function, self.temperature = loss, temperature

    def loss(self, net, batch, epoch):
        return self.function(net(batch.images), batch, self.temperature)

    alpha_loss = loss


def heard(num_ids: int) -> Batch:
    """A batch with what a teacher says of it."""
    with META:
        teacher = Teacher(ReID(backbone=ResNet(width=1 / 16), num_ids=num_ids).student(), nullcontext)
        batch = Batch(torch.empty(16, 3, 128, 64), torch.empty(16, dtype=torch.int64))
    with Kernels():
        return batch._replace(teacher=teacher.of_batch(batch))


def bilevel(space: ReID, strategy: DARTS, temperature: float, price: bool = False) -> Bilevel:
    with META:
        supernet = strategy.supernet(space)
    penalty = CostPenalty(MultiplyAdds.counted(space, 128, 64), 1.0, None) if price else None
    return Bilevel(strategy, supernet, Objective(LOSSES["kdas"], temperature), STAGE, penalty)


def counted_steps(steps: Bilevel, batch: Batch, num_steps: int = 1) -> Kernels:
    """Of the last step of weights and alphas; the first one makes what the optimisers keep."""
    for _ in range(num_steps):
        with as_on_a_gpu(), Kernels() as counted:
            steps.weight_step(batch, 0)
            steps.alpha_step(batch, batch, 0)
    return counted


@pytest.mark.medium
def test_a_whole_search_step_is_few_kernels():
    """Of the published network, with optimisers and clipping; 29,110 with the candidates one by one."""
    space = ReID(backbone=Cells(channels=16), num_ids=751)
    counted = counted_steps(bilevel(space, DARTS(), 2.0), heard(751), num_steps=2)
    assert 5_000 < counted.num_kernels <= 11_500 and counted.num_sent == 0


@pytest.mark.medium
@pytest.mark.parametrize(
    ("strategy", "temperature"),
    [(DARTS(), 0.5), (DARTS(), 0.0), (DARTS(order=2), 2.0), (PCDARTS(), 2.0)],
    ids=["cold", "labels alone", "second order", "PC-DARTS"],
)
def test_no_search_step_waits_or_sends(strategy, temperature):
    counted = counted_steps(bilevel(TINY, strategy, temperature), heard(7))
    assert counted.num_kernels > 100 and counted.num_sent == 0


@pytest.mark.medium
def test_the_price_of_a_network_lies_on_the_device():
    assert counted_steps(bilevel(TINY, DARTS(), 2.0, price=True), heard(7)).num_sent == 0


def test_gdas_waits_for_its_draw():
    """What is drawn decides what is computed."""
    steps = bilevel(TINY, GDAS(), 2.0)
    with Kernels(), pytest.raises(RuntimeError, match="meta"):
        steps.supernet.mixing()


def counted_training(space: StudentSpace, loss: Loss, optimiser: Optimiser, num_ids: int = 5) -> Kernels:
    batch = heard(num_ids)
    with META:
        net = space.student()
    built = optimiser.build(net.parameters())
    for _ in range(2):
        with as_on_a_gpu(), Kernels() as counted:
            training_step(net, built, loss, 5.0, STAGE, (batch, 1.5))
    return counted


@pytest.mark.medium
@pytest.mark.parametrize("name", STUDENTS)
def test_a_retraining_step_waits_for_nothing(name):
    counted = counted_training(STUDENTS[name].with_ids(751), LOSSES["kdas"], Adam(lr=1e-3), 751)
    assert counted.num_kernels > 100 and counted.num_sent == 0


@pytest.mark.medium
@pytest.mark.parametrize("name", ["labels", "kd", "vrkd", "dist", "dkd", "rkd", "sp", "pkt"])
def test_no_loss_waits(name):
    loss, small = LOSSES[name], ReID(backbone=ResNet(width=1 / 16), num_ids=5)
    assert counted_training(small, loss, SGD(lr=0.1)).num_sent == 0


@pytest.mark.medium
def test_branches_wait_for_nothing():
    plain = ReID(backbone=ResNet(width=1 / 16), num_ids=5)
    assert counted_training(KSL(main=plain, branches=("layer4",)), LOSSES["ksl"], SGD(lr=0.1)).num_sent == 0


@pytest.mark.medium
def test_a_directional_teacher_trains_without_waiting():
    space = Directional(backbone=ResNet(width=1 / 16), num_ids=5, embedding_dim=6)
    assert counted_training(space, LOSSES["branches"], SGD(lr=0.1)).num_sent == 0


class Dtypes(TorchDispatchMode):
    """The bytes that operations which are no views give, by dtype, and the devices that they are on."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: Counter[torch.dtype] = Counter()
        self.devices: set[torch.device] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in () if func.is_view else (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            self.num_bytes[tensor.dtype] += tensor.nbytes
            self.devices.add(tensor.device)
        return out


@pytest.mark.medium
@pytest.mark.parametrize("searched", [True, False], ids=["supernet", "student"])
def test_in_bf16_all_maps_are_bf16(monkeypatch, searched):
    """With fake tensors of CUDA, which know its autocast and mix with none of the CPU: a forward pass and the loss."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_, **__: True)
    cuda, written = torch.device("cuda:0"), Dtypes()
    stripes.cache_clear()
    with FakeTensorMode(), cuda:
        net = DARTS().supernet(TINY) if searched else TINY.student()
        batch = Batch(torch.empty(16, 3, 128, 64), torch.empty(16, dtype=torch.int64))
        teaching = ReID(backbone=ResNet(width=1 / 16), num_ids=7).student()
        teacher = Teacher(teaching, lambda: torch.autocast("cuda", torch.bfloat16))
        batch = batch._replace(teacher=teacher.of_batch(batch))
        with torch.autocast("cuda", torch.bfloat16), written:
            losses = LOSSES["kdas"](net(batch.images), batch, 2.0)
    stripes.cache_clear()  # nobody else is to find fake ones
    assert {loss.dtype for loss in losses.values()} == {torch.float32} and written.devices == {cuda}
    assert written.num_bytes[torch.float32] < 0.02 * written.num_bytes[torch.bfloat16]
