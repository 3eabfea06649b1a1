"""`nas bench gpu`: what a GPU is asked to do in a search and a training, and on one, how long it takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nas.bench.kernels import Kernels, as_on_a_gpu
from nas.bench.retrieval import Cost
from nas.bench.retrieval import rerank as time_reranking
from nas.bench.search import Noise, available, ours, saved_mib
from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD, Augment
from nas.data.batches import Batch, Batches
from nas.data.cache import ImageCache
from nas.data.images import NUM_THREADS
from nas.data.sampling import Shuffled
from nas.data.sets.pedestrians import Pedestrians
from nas.losses.base import Losses
from nas.losses.kdas import KDASLoss
from nas.losses.labels import LabelLoss
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.system.progress import tell
from nas.training.compiling import compile_network
from nas.training.gradients import gradients_of
from nas.training.graphs import WARM_UPS
from nas.training.machine import Machine
from nas.training.optimisers import Adam, place_numbers
from nas.training.stage import Stage
from nas.training.train import training_step
from search_spaces.cell import Cells
from search_spaces.ranges import Channels, Count, Layers, Pixels, checked
from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.teacher import Teacher

Row = dict[str, float]
H200_BYTES_PER_MS = 4.8e9
META = torch.device("meta")


@checked
def gpu(
    channels: Channels = 16,
    cells: Layers = 8,
    height: Pixels = 128,
    width: Pixels = 64,
    batch: Count = 16,
    identities: Count = 751,
    images: Count = 2048,
    repeats: Count = 9,
    machine: Machine = Machine(),
) -> dict[str, Row]:
    """Search and training on a GPU in several forms; without a GPU, what one would be asked to do.

    Without: `kernels` of a step (an operation that is no view is one); `host_reads`, at which it would wait;
    `moved_gib`, what its kernels take and give; `floor_ms`, what moving that takes an H200 at 4.8 TB/s; `saved_mib`,
    what autograd keeps for the backward pass. With one: `seconds`, the median over `repeats`; `ratio`, the median of
    the ratio to the first form of its kind in the same turn; `processor_s`, that of the processor's clock;
    `images_per_second`; `peak_mib`. Raises ValueError for fewer images than a batch has.
    """
    if images < batch:
        raise ValueError(
            f"--images must be at least --batch, {batch}, not {images}: give more images or a smaller batch"
        )
    backbone = Cells(channels=channels, cells=cells, reductions=tuple(p for p in (3, 5, 7) if p <= cells))
    space = ReID(backbone=backbone, num_ids=identities)
    device = machine.fabric().device
    if device.type != "cuda":
        return counted(space, batch, height, width)
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), "bench", "", replace(machine, graphs=True))
        rows = timed(search_forms(backbone, stage, batch, height, width), batch, repeats, device)
        rows |= timed(training_forms(space, stage, batch, height, width, images), batch, repeats, device)
    ranked = time_reranking(repeats=repeats, machine=machine)["ours"]
    return rows | {"re-ranking at Market-1501's size": {name: ranked[name] for name in ("seconds", "peak_mib")}}


def counted(space: ReID, batch: int, height: int, width: int) -> dict[str, Row]:
    """The rows of a machine without a GPU: of whole steps under a teacher."""
    stage: Any = SimpleNamespace(autocast=nullcontext, gradients=gradients_of)
    with META:
        given = Batch(torch.empty(batch, 3, height, width), torch.empty(batch, dtype=torch.int64))
        teacher = Teacher(ReID(backbone=ResNet(depth=50), num_ids=space.num_ids).student(), nullcontext)
        forms = {"merged": DARTS(), "plain": DARTS(folded=False)}
        supernets = {name: strategy.supernet(space) for name, strategy in forms.items()}
        student = space.student()
    heard, loss = given._replace(teacher=teacher.of_batch(given)), KDASLoss()
    objective: Any = SimpleNamespace(loss=lambda net, batch, epoch: loss(net(batch.images), batch, 2.0))
    objective.alpha_loss = objective.loss
    rows = {"teacher": _counts(lambda: teacher.of_batch(given))}
    for name, strategy in forms.items():
        bilevel = Bilevel(strategy, supernets[name], objective, stage)
        step = partial(_both_steps, bilevel, heard)
        forward = partial(lambda net: objective.loss(net, heard, 0)["total"], supernets[name])
        rows[f"search step, {name}"] = _counts(step) | {"saved_mib": saved_mib(forward)}
    optimiser = Adam(lr=1e-3).build(student.parameters())
    training = partial(training_step, student, optimiser, loss, None, stage, (heard, 2.0))
    saved = saved_mib(lambda: loss(student(heard.images), heard, 2.0)["total"])
    return rows | {"training step": _counts(training) | {"saved_mib": saved}}


def _both_steps(bilevel: Bilevel, batch: Batch) -> None:
    bilevel.weight_step(batch, 0)
    bilevel.alpha_step(batch, batch, 0)


def _counts(step: Callable[[], object]) -> Row:
    """Of the second step: the first one makes what the optimisers keep. A read would be an error."""
    for _ in range(2):
        with as_on_a_gpu(), Kernels() as kernels:
            step()
    moved = kernels.num_bytes
    return {
        "kernels": kernels.num_kernels,
        "host_reads": 0,
        "moved_gib": moved / 2**30,
        "floor_ms": moved / H200_BYTES_PER_MS,
    }


Form = Callable[[], object]


def timed(
    forms: dict[str, Form], batch: int, repeats: int, device: torch.device, num_warmup: int = WARM_UPS + 1
) -> dict[str, Row]:
    """The rows of forms of one kind, which take a step on `batch` images in turn; the first of each do not count."""
    for form in forms.values():
        for _ in range(num_warmup):
            form()
    turns = [{name: Cost.of(form, device) for name, form in forms.items()} for _ in range(repeats)]
    first, rows = next(iter(forms)), {}
    for name in forms:
        seconds = statistics.median(turn[name].seconds for turn in turns)
        rows[name] = {
            "seconds": seconds,
            "ratio": statistics.median(turn[name].seconds / turn[first].seconds for turn in turns),
            "processor_s": statistics.median(turn[name].processor for turn in turns),
            "images_per_second": batch / seconds,
            "peak_mib": max(turn[name].mib for turn in turns),
        }
    return rows


def search_forms(space: Cells, stage: Stage, batch: int, height: int, width: int) -> dict[str, Form]:
    """A search step: launched, replayed, with the candidates one by one, and NNI's."""
    images = torch.randn(batch, 3, height, width).to(stage.fabric.device, memory_format=torch.channels_last)
    noise, others = Noise(images), available()
    forms = {
        "merged": ours(space, stage, noise),
        "replayed": ours(space, stage, noise, graphs=stage.graphs()),
        "plain": ours(space, stage, noise, DARTS(folded=False)),
        **({"NNI": others["NNI"](space, stage, noise)} if "NNI" in others else {}),
    }
    return {f"search step, {name}": form.step for name, form in forms.items()}


def training_forms(space: ReID, stage: Stage, batch: int, height: int, width: int, num_images: int) -> dict[str, Form]:
    """A training step from the labels: of one batch again and again, replayed, compiled, of batches as a run has them,
    and of torchvision's."""
    device, graphs = stage.fabric.device, stage.graphs()
    data = Pedestrians(num_train_ids=-(-num_images // 8), num_test_ids=1, images_per_id=8).load()
    cache = ImageCache(data.train.take(np.arange(num_images)), height, width)
    labels = np.zeros(num_images, dtype=np.int64)
    drawn = _endless(Batches(cache, labels, Shuffled(batch_size=batch), Augment(erase=0.5), 0, device))
    plain = _endless(PlainBatches(cache.get(np.arange(num_images)), batch, device))
    launched, replayed = (_step_of(space, stage, on_device) for on_device in (False, graphs.on))
    compiled, same = _step_of(space, stage, compiles=True), (next(drawn), 0.0)
    return {
        "training step, one batch": lambda: launched(same),
        "training step, replayed": lambda: graphs.run("network", replayed, same),
        "training step, compiled": lambda: compiled(same),
        "training step, batches of a run": lambda: launched((next(drawn), 0.0)),
        "training step, torchvision's batches": lambda: launched((next(plain), 0.0)),
    }


def _step_of(
    space: ReID, stage: Stage, on_device: bool = False, compiles: bool = False
) -> Callable[[tuple[Batch, float]], Losses]:
    torch.manual_seed(0)
    net = stage.prepare(space.student())
    optimiser = Adam(lr=1e-4).build(net.parameters())
    place_numbers(optimiser, on_device)
    if compiles:
        compile_network(net, tell)
    return partial(training_step, net, optimiser, LabelLoss(), None, stage)


class PlainBatches:
    """Decoded images uint8 `[N, 3, H, W]`, one by one through torchvision's transforms in torch's loader."""

    def __init__(self, images: Tensor, batch: int, device: torch.device) -> None:
        from torchvision import transforms

        height, width = images.shape[2:]
        self.images, self.device = images, device
        self.change = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(10),
                transforms.RandomCrop((height, width)),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                transforms.RandomErasing(),
            ]
        )
        on_gpu = device.type == "cuda"
        workers: dict[str, Any] = {"num_workers": NUM_THREADS, "persistent_workers": True} if on_gpu else {}
        how: dict[str, Any] = {"shuffle": True, "drop_last": True, "pin_memory": on_gpu}
        whole: Any = self  # it has a length and items
        self.loader: DataLoader[Tensor] = DataLoader(whole, batch, **how, **workers)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.change(self.images[i])

    def __call__(self, epoch: int) -> Iterator[Batch]:
        for images in self.loader:
            images = images.to(self.device, non_blocking=True)
            yield Batch(images, torch.zeros(len(images), dtype=torch.int64, device=self.device))


def _endless(batches: Callable[[int], Iterator[Batch]]) -> Iterator[Batch]:
    return chain.from_iterable(map(batches, count()))
