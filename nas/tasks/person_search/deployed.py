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
from students.query_guided import QueryGuidedNet
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

    @property
    def needs_query(self) -> bool:
        return self.net.space.needs_query

    def finder(self, least_score: float | None = None) -> Finder:
        """What an ONNX file holds of it, in eval mode. least_score: instead of the network's own."""
        return Finder(self.net, least_score).eval()


class Finder(nn.Module):
    """The persons in one image `[1, 3, H, W]`, without what PyTorch's exporter to ONNX does not know: as
    `PersonSearchNet.detect` finds them where no two scores are the same.

    Gives boxes `[N, 4]`, scores `[N]` and, of a network that tells persons apart, features `[N, D]`; of a query-guided
    one, whose query is the image itself, similarities `[N]` as well.
    """

    def __init__(self, net: PersonSearchNet, least_score: float | None = None) -> None:
        super().__init__()
        self.net = net
        self.least_score = net.space.found.score if least_score is None else least_score
        named = ("boxes", "scores", "features", "similarities")
        self.outputs = named[: 2 + (net.embedding is not None) + net.space.needs_query]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        size, how, found = torch.tensor(images.shape[2:]), self.net.space.proposals, self.net.space.found
        seen = self.net.see_alone(images)
        scores, first = seen.scores[0].topk(min(how.num_scored_at_test, len(seen.anchors)))
        boxes = regions.clip(regions.decode(seen.deltas[0][first], seen.anchors[first]), size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= regions.LEAST_SIDE).all(dim=1)
        boxes = boxes[large]
        boxes = boxes[nms(boxes, scores[large], how.overlap)[: how.num_kept_at_test]]
        said = self.net.head(seen.base, [boxes])
        boxes = regions.clip(regions.decode(said.box_deltas, boxes, BOX_WEIGHTS), size)
        scores = F.softmax(said.class_logits, dim=1)[:, 1]
        large = ((boxes[:, 2:] - boxes[:, :2]) >= regions.LEAST_SIDE).all(dim=1)
        rows = ((scores > self.least_score) & large).nonzero().squeeze(1)
        rows = rows[nms(boxes[rows], scores[rows], found.overlap)[: found.most]]
        persons = (boxes[rows], scores[rows], said.embedding[rows])[: len(self.outputs)]
        if not isinstance(self.net, QueryGuidedNet):
            return persons
        logits = self.net.similarity(self.net.features_of(seen), said.embedding)
        return (*persons, logits.softmax(dim=1)[rows, 1])
