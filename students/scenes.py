"""Scenes with persons in them: what a network for person search is given, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

TABLE = "table"
"""What a teacher is asked for its identity table by, beside the names of its maps."""
DETECTOR = "detector"
"""Likewise for what it says of anchors and regions."""
UNKNOWN = -1
"""The label of a person without identity."""
BACKGROUND = -2
"""The label of a region without a person."""


class QueryFrames(NamedTuple):
    """For each scene of a batch the frame of a person who is looked for there."""

    tensors: Tensor
    """`[B, 3, H, W]`, as `Scenes.tensors`, of a size of their own."""
    boxes: Tensor
    """`[B, 4]` float32: the person's box, in pixels of `tensors`."""
    labels: Tensor
    """`[B]` int64: the person's number among the training identities; `UNKNOWN` at test time."""


class Scenes(NamedTuple):
    """A batch of whole images with boxes around their persons. Boxes are `(x1, y1, x2, y2)`, in pixels of `tensors`."""

    tensors: Tensor
    """`[B, 3, H, W]`, ImageNet-normalised, each image padded with 0 at its right and lower side to the batch's size, a
    multiple of 32."""
    sizes: Tensor
    """`[B, 2]` int64: height and width of each image before padding."""
    boxes: tuple[Tensor, ...]
    """For each image `[N_i, 4]` float32."""
    labels: tuple[Tensor, ...]
    """For each image `[N_i]` int64: the identity's number from 0 on, or `UNKNOWN`."""
    seed: int = 0
    """What the choice of anchors and regions to train on depends on, by a generator of the CPU."""
    table: Tensor | None = None
    """`[P, D]`: the identity table of a teacher, which the network takes for good (KD_reid)."""
    query: QueryFrames | None = None
    """Whom a query-guided network looks for; other networks leave it aside."""

    @property
    def shape(self) -> torch.Size:
        """That of `tensors`."""
        return self.tensors.shape


class Detections(NamedTuple):
    """The persons found in one image, the surest first."""

    boxes: Tensor
    """`[N, 4]` float32, in pixels of the batch's `tensors`, inside the image."""
    scores: Tensor
    """`[N]`: the probability of a person."""
    features: Tensor
    """`[N, D]`, each of length 1."""


class Regions(NamedTuple):
    """What the head says of regions, a row for each of all images' regions."""

    class_logits: Tensor
    """`[R, 2]`: background, person."""
    box_deltas: Tensor
    """`[R, 4]` from the region to the person's box."""
    embedding: Tensor
    """`[R, D]`, each of length 1; D is 0 for a detector without identities."""


class Guided(NamedTuple):
    """What a query-guided network says besides, of the same anchors and regions as in a `SearchOutput`."""

    objectness: Tensor
    """`[B, A]` logits of "there is the person who is looked for"."""
    anchor_labels: Tensor
    """`[B, A]` int64: 1 that person, 0 anything else, -1 neither."""
    sampled: Tensor
    """`[B, A]` bool: the anchors to train on."""
    similarity: Tensor
    """`[R, 2]` logits: somebody else, the person who is looked for."""
    same: Tensor
    """`[R]` int64: 1 that person, 0 somebody else, -1 nobody."""


class SearchOutput(NamedTuple):
    """What a network for person search says of a batch while it is trained, beside what is right.

    A is the number of anchors of an image, R that of the regions drawn of all images.
    """

    objectness: Tensor
    """`[B, A]` logits of "there is a person"."""
    deltas: Tensor
    """`[B, A, 4]` from the anchor to the person's box."""
    anchors: Tensor
    """`[A, 4]` boxes."""
    anchor_labels: Tensor
    """`[B, A]` int64: 1 a person, 0 background, -1 neither."""
    anchor_targets: Tensor
    """`[B, A, 4]`: what `deltas` should be; 0 where the label is not 1."""
    sampled: Tensor
    """`[B, A]` bool: the anchors to train on."""
    rois: tuple[Tensor, ...]
    """For each image `[R_i, 4]` boxes: the regions to train on."""
    class_logits: Tensor
    """`[R, 2]`: background, person."""
    box_deltas: Tensor
    """`[R, 4]`."""
    roi_labels: Tensor
    """`[R]` int64: 1 a person, 0 background."""
    roi_targets: Tensor
    """`[R, 4]`: what `box_deltas` should be; 0 where the label is not 1."""
    embedding: Tensor
    """`[R, D]`, each of length 1."""
    roi_ids: Tensor
    """`[R]` int64: the identity's number, `UNKNOWN` or `BACKGROUND`."""
    id_logits: Tensor
    """`[R, P + Q]` against the identities and the queue; -inf where there is nobody yet."""
    maps: Mapping[str, Tensor] = MappingProxyType({})
    """`[B, C, H, W]` by name: the backbone's, up to the one that the regions are cut from."""
    guided: Guided | None = None
    """What a query-guided network says of whom it looks for."""


class SceneAnswer(NamedTuple):
    """What a network for person search says of a batch in eval mode."""

    detections: tuple[Detections, ...]
    """Of each image."""
    described: tuple[Tensor, ...]
    """For each image `[N_i, D]`: the features, each of length 1, of the boxes that came with it."""
    maps: Mapping[str, Tensor] = MappingProxyType({})
    similarities: tuple[Tensor, ...] = ()
    """Of a query-guided network: for each image `[N_i]`, how likely each detection is the person looked for there."""


class CountedAnswer(NamedTuple):
    """What a network for person search says of images alone, where no step depends on values: of a fixed number of
    regions, all of them the whole image. It is what is counted and timed."""

    objectness: Tensor
    deltas: Tensor
    regions: Regions
    maps: Mapping[str, Tensor] = MappingProxyType({})


class CountedPair(NamedTuple):
    """The same of a query-guided network: of each image and a query, whose frame is the image itself."""

    objectness: Tensor
    deltas: Tensor
    regions: Regions
    similarity: Tensor
    """`[R, 2]`."""
    maps: Mapping[str, Tensor] = MappingProxyType({})
