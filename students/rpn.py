"""The region proposal network (Ren et al. 2015): where in a scene persons may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from search_spaces.ranges import Channels, Count, NotEmpty, Positive, PositiveShare, Ranged, Share
from students import regions
from students.losses import at_least_float32


@dataclass(frozen=True, kw_only=True)
class Anchors(Ranged):
    """The boxes that proposals start from. The defaults are for upright people in images with a short side of 600
    pixels; the papers' are 128, 256, 512 and 0.5, 1, 2."""

    sizes: Annotated[tuple[Positive, ...], NotEmpty()] = (32.0, 64.0, 128.0, 256.0)
    """Sizes of the anchors: square roots of their areas, in pixels."""
    ratios: Annotated[tuple[Positive, ...], NotEmpty()] = (1.0, 2.0, 3.0)
    """Shapes of the anchors: height over width."""

    @property
    def number(self) -> int:
        """At each place of the map."""
        return len(self.sizes) * len(self.ratios)


@dataclass(frozen=True, kw_only=True)
class Proposals(Ranged):
    """How the proposal network is trained, and which of its boxes the head looks at."""

    channels: Channels | None = None
    """Channels of the proposal network's 3x3 convolution; None: as many as the map has."""
    positive: PositiveShare = 0.7
    """Least IoU of an anchor with the person it stands for; the best anchor of each person is one too."""
    negative: PositiveShare = 0.3
    """Anchors below this IoU with all persons are background; those between are not trained on."""
    num_sampled: Count = 256
    """Anchors of an image that the proposal network is trained on."""
    share: Share = 0.5
    """Largest share of persons among the anchors of an image that are trained on."""
    overlap: Share = 0.7
    """Largest IoU of two proposals; of two that overlap more the likelier one stays."""
    num_scored: Count = 12000
    """Boxes of an image with the highest scores that are looked at while training."""
    num_kept: Count = 2000
    """Most proposals of an image while training."""
    num_scored_at_test: Count = 6000
    """Boxes of an image with the highest scores that are looked at when testing."""
    num_kept_at_test: Count = 300
    """Most proposals of an image when testing; as many regions are counted in multiply-adds and times."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negative > self.positive:
            raise self.out_of_range("negative", f"be at most positive ({self.positive})")

    def small(self) -> Proposals:
        few = {"num_sampled": 16, "num_scored": 60, "num_kept": 20, "num_scored_at_test": 30, "num_kept_at_test": 10}
        return replace(self, **{name: min(getattr(self, name), number) for name, number in few.items()})


class AnchorTargets(NamedTuple):
    """What is right for the anchors of a batch."""

    labels: Tensor
    """`[B, A]` int64: 1 a person, 0 background, -1 neither."""
    deltas: Tensor
    """`[B, A, 4]`; 0 where the label is not 1."""
    sampled: Tensor
    """`[B, A]` bool: those to train on."""


class RPN(nn.Module):
    """A 3x3 convolution, and behind it for each anchor a logit and four deltas. Anchors are ordered by place, then as
    `regions.place_anchors` has them."""

    def __init__(self, channels: int, stride: int, anchors: Anchors, how: Proposals) -> None:
        super().__init__()
        self.stride, self.boxes, self.how = stride, anchors, how
        hidden = how.channels or channels
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.objectness = nn.Conv2d(hidden, anchors.number, 1)
        self.deltas = nn.Conv2d(hidden, 4 * anchors.number, 1)
        for conv in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, conv.bias))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For a map `[B, C, H, W]` logits `[B, A]`, deltas `[B, A, 4]` and anchors `[A, 4]`, at least float32."""
        height, width = x.shape[2:]
        x = F.relu(self.conv(x))
        logits = at_least_float32(self.objectness(x).permute(0, 2, 3, 1).flatten(1))
        deltas = at_least_float32(self.deltas(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4))
        return logits, deltas, self.anchors(height, width, deltas)

    def anchors(self, height: int, width: int, like: Tensor) -> Tensor:
        """Those of a map of this size, of the type and on the device of `like`."""
        sizes, ratios = self.boxes.sizes, self.boxes.ratios
        return regions.place_anchors(height, width, self.stride, sizes, ratios, like.device, like.dtype)

    @torch.no_grad()
    def propose(self, logits: Tensor, deltas: Tensor, anchors: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """For each image of `sizes [B, 2]` the boxes that are most likely persons `[N_i, 4]`, inside the image."""
        how, proposals = self.how, []
        num_scored, num_kept = (
            (how.num_scored, how.num_kept) if self.training else (how.num_scored_at_test, how.num_kept_at_test)
        )
        for scores, shifts, size in zip(logits, deltas, sizes, strict=True):
            boxes = regions.clip(regions.decode(shifts, anchors), size)
            proposals.append(boxes[regions.choose(boxes, scores, how.overlap, num_kept, num_scored)])
        return tuple(proposals)

    @torch.no_grad()
    def targets(self, anchors: Tensor, boxes: Sequence[Tensor], generator: torch.Generator) -> AnchorTargets:
        """What is right where each image has persons in `boxes`, and by chance which anchors are trained on."""
        how, found = self.how, []
        for persons in boxes:
            index, labels = regions.match(box_iou(persons, anchors), how.positive, how.negative, keep_best=True)
            deltas = regions.targets(persons, anchors, index, labels)
            found.append((labels, deltas, regions.sample(labels, how.num_sampled, how.share, generator)))
        return AnchorTargets(*map(torch.stack, zip(*found, strict=True)))
