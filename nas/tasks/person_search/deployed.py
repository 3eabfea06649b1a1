"""What of a network for person search runs on a camera."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms

from students import regions
from students.person_search import BOX_WEIGHTS, PersonSearchNet
from teachers.person_search import SearchTeachersNet


class Deployed(nn.Module):
    """A copy of a network for person search that takes images alone `[B, 3, H, W]`: what is counted and timed.

    It looks at a fixed number of regions, as many as are kept at test time, whatever is in the image. Of networks that
    teach together it is the one that finds persons.
    """

    net: PersonSearchNet
    out_channels: int

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        finds = net.detector if isinstance(net, SearchTeachersNet) else net
        self.net = copy.deepcopy(cast(PersonSearchNet, finds))
        self.out_channels = self.net.out_channels

    def forward(self, images: Tensor) -> Any:
        return self.net.eval()(images)

    def finder(self, least_score: float | None = None) -> Finder:
        """What an ONNX file holds of it, in eval mode. least_score: instead of the network's own. Raises ValueError for
        a query-guided network."""
        if self.net.space.needs_query:
            raise ValueError(
                "a file takes one image, and a query-guided network compares two: export a network that needs no "
                "query, such as a student that learns this one's identity table (--loss kd_reid)"
            )
        return Finder(self.net, least_score).eval()


class Finder(nn.Module):
    """The persons in one image `[1, 3, H, W]`, without what PyTorch's exporter to ONNX does not know: as
    `PersonSearchNet.detect` finds them where no two scores are the same.

    Gives boxes `[N, 4]`, scores `[N]` and, of a network that tells persons apart, features `[N, D]`.
    """

    def __init__(self, net: PersonSearchNet, least_score: float | None = None) -> None:
        super().__init__()
        self.net = net
        self.least_score = net.space.found.score if least_score is None else least_score
        self.outputs = ("boxes", "scores", "features")[: 3 if net.embedding is not None else 2]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        size, how, found = torch.tensor(images.shape[2:]), self.net.space.proposals, self.net.space.found
        base = self.net.maps(images)[self.net.where.base[-1]]
        objectness, deltas, anchors = self.net.rpn(base)
        scores, first = objectness[0].topk(min(how.num_scored_at_test, len(anchors)))
        boxes = regions.clip(regions.decode(deltas[0][first], anchors[first]), size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= regions.LEAST_SIDE).all(dim=1)
        boxes = boxes[large]
        boxes = boxes[nms(boxes, scores[large], how.overlap)[: how.num_kept_at_test]]
        said = self.net.head(base, [boxes])
        boxes = regions.clip(regions.decode(said.box_deltas, boxes, BOX_WEIGHTS), size)
        scores = F.softmax(said.class_logits, dim=1)[:, 1]
        large = ((boxes[:, 2:] - boxes[:, :2]) >= regions.LEAST_SIDE).all(dim=1)
        rows = ((scores > self.least_score) & large).nonzero().squeeze(1)
        rows = rows[nms(boxes[rows], scores[rows], found.overlap)[: found.most]]
        return (boxes[rows], scores[rows], said.embedding[rows])[: len(self.outputs)]
