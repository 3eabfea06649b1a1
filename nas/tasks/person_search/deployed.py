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

    def finder(self, least_score: float | None = None, num_rows: int | None = None) -> Finder:
        """What an ONNX file holds of it, in eval mode. least_score: instead of the network's own.

        Raises ValueError for more rows than the network finds persons."""
        return Finder(self.net, least_score, num_rows).eval()


class Finder(nn.Module):
    """The persons in one image `[1, 3, H, W]`, without what PyTorch's exporter to ONNX does not know: as
    `PersonSearchNet.detect` finds them where no two scores are the same.

    Gives boxes `[N, 4]`, scores `[N]` and, of a network that tells persons apart, features `[N, D]`; of a query-guided
    one, whose query is the image itself, similarities `[N]` as well. N is the number of persons; with `num_rows` it is
    that, the likeliest persons come first, and rows without one are 0. Then it looks at the same number of regions
    whatever is in the image, and takes the same time.
    """

    def __init__(self, net: PersonSearchNet, least_score: float | None = None, num_rows: int | None = None) -> None:
        super().__init__()
        most = min(net.space.proposals.num_kept_at_test, net.space.found.most)
        if num_rows is not None and num_rows > most:
            raise ValueError(f"--rows must be at most {most}, the most persons that the network finds, got {num_rows}")
        self.net, self.num_rows = net, num_rows
        self.least_score = net.space.found.score if least_score is None else least_score
        named = ("boxes", "scores", "features", "similarities")
        self.outputs = named[: 2 + (net.embedding is not None) + net.space.needs_query]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        size, how, found = torch.tensor(images.shape[2:]), self.net.space.proposals, self.net.space.found
        seen = self.net.see_alone(images)
        logits, first = seen.scores[0].topk(min(how.num_scored_at_test, len(seen.anchors)))
        boxes = regions.clip(regions.decode(seen.deltas[0][first], seen.anchors[first]), size)
        large = _large(boxes)
        large = large | (
            ~large.any() & (torch.arange(len(boxes), device=boxes.device) == 0)
        )  # the head sees one at least
        if self.num_rows is not None and self.num_rows > len(boxes):
            raise ValueError(f"--rows must be at most {len(boxes)} for images this small, got {self.num_rows}")
        places, proposed = self._choose(boxes, logits, large, how.overlap, min(how.num_kept_at_test, len(boxes)))
        boxes = boxes[places]
        said = self.net.head(seen.base, [boxes])
        boxes = regions.clip(regions.decode(said.box_deltas, boxes, BOX_WEIGHTS), size)
        scores = F.softmax(said.class_logits, dim=1)[:, 1]
        persons = proposed & (scores > self.least_score) & _large(boxes)
        rows, there = self._choose(boxes, scores, persons, found.overlap, self.num_rows or found.most)
        answer = [boxes, scores, said.embedding]
        if isinstance(self.net, QueryGuidedNet):
            answer.append(self.net.similarity(self.net.features_of(seen), said.embedding).softmax(dim=1)[:, 1])
        chosen = [each[rows] for each in answer[: len(self.outputs)]]
        return tuple(chosen if self.num_rows is None else [_filled(each, there) for each in chosen])

    def _choose(
        self, boxes: Tensor, scores: Tensor, allowed: Tensor, overlap: float, most: int
    ) -> tuple[Tensor, Tensor]:
        """The places of the likeliest boxes, none with an IoU above `overlap` with one before, and which of them are
        `allowed`: of those without a number of rows all; otherwise there are always `most`."""
        if self.num_rows is None:
            places = allowed.nonzero().squeeze(1)
            places = places[nms(boxes[places], scores[places], overlap)[:most]]
            return places, allowed[places]
        places = nms(_filled(boxes, allowed), scores.where(allowed, -1e9), overlap)  # without area they suppress nobody
        kept = torch.zeros_like(scores).scatter(0, places, torch.ones_like(places).to(scores)) > 0
        values, places = scores.where(kept & allowed, -1e9).topk(most)
        return places, values > -1e9


def _large(boxes: Tensor) -> Tensor:
    """Which boxes are as large as one that is kept has to be, `[N]`."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= regions.LEAST_SIDE).all(dim=1)


def _filled(rows: Tensor, there: Tensor) -> Tensor:
    """The rows, and 0 where none is there."""
    return rows.where(there.unflatten(0, (-1, *[1] * (rows.ndim - 1))), 0.0)
