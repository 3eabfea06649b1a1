"""`nas bench person_search`: a training step beside torchvision's detector, an evaluation beside the public loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from nas.bench.gpu import timed
from nas.bench.retrieval import measured
from nas.losses.oim import OIMLoss
from nas.metrics.detection import box_iou
from nas.metrics.person_search import Boxes, evaluate_person_search
from nas.tasks.person_search.feed import SceneBatch, scenes_of
from nas.training.machine import Machine
from nas.training.optimisers import SGD, step
from nas.training.stage import Stage
from nas.training.train import training_step
from search_spaces.ranges import Count, Pixels, checked
from search_spaces.resnet import ResNet
from students.person_search import PersonSearch, PersonSearchNet

Row = dict[str, float]
PERSONS = 4
"""In a frame, about as many as in PRW."""
NOISE = 2.2
"""Of a feature's numbers around those of its identity, which are spread by 1."""
FALSE = 1 / 6
"""Share of the detections that show nobody."""
ROUNDING = 1e-5
"""Of the mAP, where similarities that differ by a bit change places."""


@checked
def person_search(
    height: Pixels = 600,
    width: Pixels = 1000,
    batch: Count = 1,
    depth: Literal[18, 34, 50] = 18,
    identities: Count = 450,
    queries: Count = 2057,
    frames: Count = 6112,
    detections: Count = 30_000,
    dim: Count = 256,
    repeats: Count = 3,
    machine: Machine = Machine(),
) -> dict[str, Row]:
    """A training step of person search beside torchvision's Faster R-CNN, and an evaluation beside the public loop.

    The step is OIM's on a ResNet. torchvision's detector has the same backbone, cut at the same place, the same anchors
    and as many regions, and no identities. The evaluation is of random clusters at PRW's size; the loop goes over the
    queries, and for each over the frames, as OIM's public script does. `seconds`: median over `repeats`; `ratio`:
    median of the ratio to ours in the same turn, of the RoI head its share of our step; `peak_mib`: most memory beyond
    what was used before.
    """
    device = machine.fabric().device
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), "bench", "", machine)
        rows = timed(steps(stage, height, width, batch, depth, identities), batch, repeats, device, num_warmup=1)
    data = drawn(queries, frames, detections, dim, identities)
    ways = {"evaluation, ours": evaluated, "evaluation, public loop": by_loop}
    evaluations = measured({name: partial(way, *data) for name, way in ways.items()}, repeats, device)
    found = [row["mAP"] for row in evaluations.values()]
    assert max(found) - min(found) < ROUNDING, f"both evaluations must find the same mAP: {found}"
    return rows | evaluations


def steps(
    stage: Stage, height: int, width: int, batch: int, depth: Literal[18, 34, 50], identities: int
) -> dict[str, Callable[[], object]]:
    """A step of ours, the forward and backward pass of our RoI head alone, and a step of torchvision's detector."""
    torch.manual_seed(0)
    space = PersonSearch(backbone=ResNet(depth=depth), num_ids=identities)
    ours: Any = stage.prepare(space.student())
    rng, device = np.random.default_rng(0), stage.fabric.device
    images = [torch.randint(256, (3, height, width), dtype=torch.uint8) for _ in range(batch)]
    corners = [_boxes(PERSONS, height, width, rng) for _ in images]
    scenes = scenes_of(images, corners, [np.arange(PERSONS) for _ in images], device=device)
    given = SceneBatch(images=scenes, labels=torch.cat(scenes.labels))
    plain = stage.prepare(torchvisions(ours, height, width))
    frames = [image[:, :height, :width] for image in scenes.tensors]
    targets = [
        {"boxes": boxes, "labels": torch.ones(PERSONS, dtype=torch.int64, device=device)} for boxes in scenes.boxes
    ]
    with torch.no_grad():
        base, rois = ours.see(scenes.tensors).base.requires_grad_(), ours(scenes).rois
    trained = [*ours.parameters(), base]
    first, second = (SGD(lr=1e-3, weight_decay=5e-4).build(net.parameters()) for net in (ours, plain))

    def head() -> object:
        with stage.autocast():
            said = torch.cat([part.flatten() for part in ours.head(base, rois)]).square().sum()
        return torch.autograd.grad(said, trained, allow_unused=True)

    def theirs() -> None:
        with stage.autocast():
            losses = sum(plain(frames, targets).values())
        step(second, torch.autograd.grad(losses, list(plain.parameters())), None)

    return {
        "step, ours": partial(training_step, ours, first, OIMLoss(), None, stage, (given, 0.0)),
        "step, our RoI head": head,
        "step, torchvision": theirs,
    }


class Whole(nn.Module):
    """The stages of a copy of a backbone in a row, as torchvision's detector takes it: the map, or behind `pool` the
    vector, that they give."""

    def __init__(self, backbone: nn.Module, names: tuple[str, ...], out_channels: int, pool: bool) -> None:
        super().__init__()
        copied: Any = copy.deepcopy(backbone)
        stages = copied.stages()
        self.stages = nn.Sequential(*(nn.Sequential(*stages[name]) for name in names))
        self.out_channels, self.pool = out_channels, pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)
        return x.mean(dim=(2, 3)) if self.pool else x


def torchvisions(net: PersonSearchNet, height: int, width: int) -> nn.Module:
    """torchvision's Faster R-CNN with the backbone, anchors, proposals and regions of `net`, in training mode."""
    space, where, channels = net.space, net.where, net.person.in_features
    rpn, rois = space.proposals, space.rois
    return FasterRCNN(
        Whole(net.backbone, where.base, where.channels, pool=False),
        min_size=height,
        max_size=width,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator((space.anchors.sizes,), (space.anchors.ratios,)),
        rpn_pre_nms_top_n_train=rpn.num_scored,
        rpn_post_nms_top_n_train=rpn.num_kept,
        rpn_batch_size_per_image=rpn.num_sampled,
        box_roi_pool=MultiScaleRoIAlign(["0"], rois.size, rois.samples),
        box_head=Whole(net.backbone, where.head, channels, pool=True),
        box_predictor=FastRCNNPredictor(channels, 2),
        box_fg_iou_thresh=rois.positive,
        box_bg_iou_thresh=rois.positive,
        box_batch_size_per_image=rois.num_sampled,
        box_positive_fraction=rois.share,
    ).train()


def drawn(queries: int, frames: int, detections: int, dim: int, identities: int) -> tuple[Boxes, Boxes, Boxes]:
    """Queries, detections and true boxes, always the same ones: persons by chance in the frames, each of them detected
    a few pixels off. Raises ValueError where so few persons leave nobody to look for."""
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    num_true = round(detections * (1 - FALSE))
    where, who = rng.integers(frames, size=num_true), rng.integers(identities, size=num_true)
    once = np.zeros(num_true, dtype=bool)
    once[np.unique(where * identities + who, return_index=True)[1]] = True
    who = np.where(once, who, -1)  # nobody is twice in a frame
    true = Boxes(frames=where, boxes=_boxes(num_true, 1080, 1920, rng), ids=who)
    centres = torch.randn(identities, dim, generator=noise)
    of_detections, of_queries = (torch.randn(num, dim, generator=noise) * NOISE for num in (detections, queries))
    of_detections[:num_true][torch.from_numpy(who >= 0)] += centres[who[who >= 0]]
    detected = Boxes(
        frames=np.append(where, rng.integers(frames, size=detections - num_true)),
        boxes=np.concatenate(
            [true.boxes + rng.normal(0, 3, true.boxes.shape), _boxes(detections - num_true, 1080, 1920, rng)]
        ),
        features=F.normalize(of_detections),
    )
    known = rng.permutation(np.flatnonzero(who >= 0))[:queries]
    asked = Boxes(
        frames=where[known],
        boxes=true.boxes[known],
        ids=who[known],
        features=F.normalize(of_queries[: len(known)] + centres[who[known]]),
    )
    return asked, detected, true


def _boxes(number: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Corners `[number, 4]` of upright boxes inside an image."""
    high = rng.uniform(height / 10, height / 3, number)
    sides = np.stack([high / 2.5, high], axis=1)
    low = rng.uniform(0, 1, (number, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([low, low + sides], axis=1)


def evaluated(queries: Boxes, detected: Boxes, true: Boxes) -> float:
    return evaluate_person_search(queries, detected, true, num_best=0).mAP


def by_loop(queries: Boxes, detected: Boxes, true: Boxes) -> float:
    """mAP as public scripts find it: for each query the frames one after the other, then scikit-learn's average
    precision of all that was seen, times the share of the person's frames where they were found."""
    assert detected.features is not None and queries.features is not None
    assert queries.ids is not None and true.ids is not None
    features, asked = detected.features.numpy(), queries.features.numpy()
    shown = {frame: (detected.boxes[of], features[of]) for frame, of in _by_frame(detected.frames)}
    present = {
        frame: dict(zip(true.ids[of].tolist(), true.boxes[of], strict=True)) for frame, of in _by_frame(true.frames)
    }
    precisions = []
    for own, who, feature in zip(queries.frames.tolist(), queries.ids.tolist(), asked, strict=True):
        labels: list[bool] = []
        similarities: list[float] = []
        num_true, num_found = 0, 0
        for frame in range(1 + max(shown.keys() | present.keys())):
            if frame == own:
                continue
            box = present.get(frame, {}).get(who)
            num_true += box is not None
            if frame not in shown:
                continue
            boxes, of_boxes = shown[frame]
            similar, label = of_boxes.dot(feature), np.zeros(len(boxes), dtype=bool)
            if box is not None:
                place = _first_right(boxes, similar, box)
                if place is not None:
                    label[place], num_found = True, num_found + 1
            labels.extend(label)
            similarities.extend(similar)
        if num_true:
            share = num_found / num_true
            precisions.append(average_precision_score(labels, similarities) * share if num_found else 0.0)
    return float(np.mean(precisions))


def _by_frame(frames: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each frame with the places of its boxes."""
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    return zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)


def _first_right(boxes: np.ndarray, similar: np.ndarray, person: np.ndarray) -> int | None:
    """The most similar of the boxes that overlap a person's enough."""
    width, height = person[2:] - person[:2]
    needed = min(0.5, width * height / ((width + 10) * (height + 10)))
    for place in np.argsort(-similar):
        if box_iou(boxes[place][None], person[None])[0, 0] >= needed:
            return int(place)
    return None
