"""Person search that looks at the query while it looks at a frame (Munjal et al. 2019, QEEPS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn, cast

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from search_spaces.ranges import Count
from students import regions
from students.cut import Cut, makers_of
from students.losses import at_least_float32
from students.person_search import Asked, PersonSearch, PersonSearchNet, Seen
from students.rpn import Anchors, Proposals
from students.scenes import BACKGROUND, CountedPair, Guided, QueryFrames, Regions, SceneAnswer, Scenes


class Excitation(nn.Sequential):
    """A vector `[B, C_in]` to weights `[B, C]` in (0, 1): FC to C_in / r, ReLU, FC, sigmoid (Hu et al. 2018)."""

    def __init__(self, c_in: int, channels: int, reduction: int) -> None:
        hidden = max(1, c_in // reduction)
        super().__init__(nn.Linear(c_in, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())


class QSSE(nn.Module):
    """Weighs the channels of a query's map and of a frame's by what is in both: the same weights for both."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.excitation = Excitation(2 * channels, channels, reduction)

    def forward(self, query: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Maps `[B, C, H, W]`, each of its own height and width."""
        weights = self.excitation(torch.cat([query.mean(dim=(2, 3)), frame.mean(dim=(2, 3))], dim=1))[:, :, None, None]
        return weights * query, weights * frame


class QRPN(nn.Module):
    """Where in a frame the query's person may be: logits for the anchors of the proposal network.

    The frame's map, its channels weighed by what is in the query's box, passes a 3x3 convolution and a 1x1 one, as in
    the proposal network.
    """

    def __init__(self, channels: int, anchors: Anchors, how: Proposals, reduction: int) -> None:
        super().__init__()
        self.how = how
        self.excitation = Excitation(channels, channels, reduction)
        hidden = how.channels or channels
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.objectness = nn.Conv2d(hidden, anchors.number, 1)
        for conv in (self.conv, self.objectness):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, conv.bias))

    def forward(self, asked: Tensor, base: Tensor) -> Tensor:
        """From the query's map in its box `[B, C, h, w]` and the frame's map `[B, C, H, W]` to logits `[B, A]`."""
        weights = self.excitation(asked.mean(dim=(2, 3)))[:, :, None, None]
        logits = self.objectness(self.conv(weights * base).relu())
        return at_least_float32(logits.permute(0, 2, 3, 1).flatten(1))

    @torch.no_grad()
    def targets(self, anchors: Tensor, scenes: Scenes, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Labels `[B, A]` of the anchors, which are positive for boxes of the query's identity alone, and by chance
        which of them are trained on. A frame without that person is all background."""
        assert scenes.query is not None
        how, found = self.how, []
        for boxes, labels, asked in zip(scenes.boxes, scenes.labels, scenes.query.labels, strict=True):
            overlaps = box_iou(boxes, anchors) * (labels == asked)[:, None]
            _, right = regions.match(overlaps, how.positive, how.negative, keep_best=True)
            found.append((right, regions.sample(right, how.num_sampled, how.share, generator)))
        of_anchors, sampled = zip(*found, strict=True)
        return torch.stack(of_anchors), torch.stack(sampled)


class QSimNet(nn.Module):
    """Whether two features are of one person: `(x_q - x_g)^2`, BatchNorm, FC to two logits."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.same = nn.Linear(dim, 2)

    def forward(self, query: Tensor, found: Tensor) -> Tensor:
        """Features `[R, D]` of length 1 to logits `[R, 2]`: somebody else, the same person."""
        return at_least_float32(self.same(self.norm((query - found).square())))


class QueryGuidedNet(PersonSearchNet):
    """`PersonSearchNet` that compares each frame with a query, whose frame runs through the same backbone.

    Behind each stage of the map `QSSE` weighs both maps; proposals are chosen by the proposal network's logits plus
    those of `QRPN`, while their boxes are the proposal network's alone; `QSimNet` says how likely a detection is the
    person who is looked for. It answers `Scenes` with a `query`, and needs one for whatever it finds.
    """

    def __init__(self, backbone: nn.Module, where: Cut, space: PersonSearch) -> None:
        super().__init__(backbone, where, space)
        reduction = cast(QueryGuided, space).reduction
        self.excitations = nn.ModuleList(QSSE(channels, reduction) for channels in where.widths)
        self.query_rpn = QRPN(where.channels, space.anchors, space.proposals, reduction)
        self.similarity = QSimNet(self.out_channels)

    @property
    def detector(self) -> None:
        """None: it detects nobody without a query."""
        return None

    def detector_to_teach(self) -> NoReturn:
        raise ValueError(
            "a teacher of boxes must be a detector that needs no query, and this network is query-guided: it teaches "
            "its identity table alone"
        )

    def see(self, images: Tensor, query: QueryFrames | None = None) -> Seen:
        """As `PersonSearchNet.see`. Raises ValueError where there is no query."""
        if query is None:
            raise ValueError(
                "a query-guided network looks for somebody: it needs the query's frame and box beside each frame "
                "(Scenes.query), which sampling=QueryPairs(...) gives in training"
            )
        maps, of_query, base = {}, query.tensors, images
        for (name, make), excite in zip(makers_of(self.backbone, self.where.base), self.excitations, strict=True):
            of_query, base = excite(make(of_query), make(base))
            maps[name] = base
        objectness, deltas, anchors = self.rpn(base)
        in_boxes = self._pooled(of_query, list(query.boxes[:, None]))
        asked = Asked(in_boxes, self.query_rpn(in_boxes, base))
        return Seen(maps, base, objectness, deltas, anchors, objectness + asked.objectness, asked)

    def _look(self, scenes: Scenes, seen: Seen, rois: Sequence[Tensor], ids: Tensor) -> tuple[Regions, Guided | None]:
        """The queries' boxes pass the head in one batch with the regions, so that BatchNorms see them alike."""
        assert scenes.query is not None and seen.asked is not None
        num_rois = [len(each) for each in rois]
        together = self._regions(torch.cat([self._pooled(seen.base, rois), seen.asked.regions]))
        said = Regions(*(part[: sum(num_rois)] for part in together))
        labels, sampled = self.query_rpn.targets(seen.anchors, scenes, torch.Generator().manual_seed(scenes.seed))
        similarity = self.similarity(for_each(together.embedding[sum(num_rois) :], num_rois), said.embedding)
        same = (ids == for_each(scenes.query.labels, num_rois)).long().where(ids > BACKGROUND, -1)
        return said, Guided(seen.asked.objectness, labels, sampled, similarity, same)

    def _answer(self, scenes: Scenes, seen: Seen) -> SceneAnswer:
        answer = super()._answer(scenes, seen)
        num_found = [len(each.scores) for each in answer.detections]
        found = torch.cat([each.features for each in answer.detections])
        logits = self.similarity(for_each(self.features_of(seen), num_found), found)
        return answer._replace(similarities=logits.softmax(dim=1)[:, 1].split(num_found))

    def features_of(self, seen: Seen) -> Tensor:
        """Those of the queries, `[B, D]`, each of length 1."""
        assert seen.asked is not None
        return self._regions(seen.asked.regions).embedding

    def see_alone(self, images: Tensor) -> Seen:
        """Each image is its own query, with its left half as the box: the regions that are counted are the whole image,
        and no difference from them would be left."""
        height, width = images.shape[2:]
        half = images.new_tensor([0.0, 0.0, width / 2, height]).expand(len(images), 4)
        return self.see(images, QueryFrames(images, half, images.new_empty(len(images), dtype=torch.int64)))

    def _counted(self, images: Tensor) -> CountedPair:
        seen = self.see_alone(images)
        said = self._whole(images, seen.base)
        num_regions = [self.space.proposals.num_kept_at_test] * len(images)
        similarity = self.similarity(for_each(self.features_of(seen), num_regions), said.embedding)
        return CountedPair(seen.scores, seen.deltas, said, similarity, seen.maps)


def for_each(rows: Tensor, numbers: Sequence[int]) -> Tensor:
    """Each of `rows [B, ...]` as often as the number `[B]` says."""
    return torch.cat([row.expand(number, *row.shape) for row, number in zip(rows, numbers, strict=True)])


@dataclass(frozen=True, kw_only=True)
class QueryGuided(PersonSearch):
    """QEEPS: person search guided by the query, with any backbone; what is open is the backbone's.

    It finds one query's person at a time: each query is compared with each frame of its gallery, which is one forward
    pass of both. It is trained on pairs of frames with the same person (`QueryPairs`) by `QueryGuidedLoss`. Where the
    paper leaves something open: the losses of OIM are those of the frame that is searched alone; `QRPN`'s anchors
    include the best one of the query's box, as the proposal network's do; `QSimNet`'s BatchNorm sees all regions that
    are trained on, its loss counts persons alone.
    """

    network: ClassVar[type[PersonSearchNet]] = QueryGuidedNet

    reduction: Count = 16
    """By how much the hidden layers of the channels' weights are narrower than their input (r)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim is None:
            raise self.out_of_range("embedding_dim", "be a number: a query is found by a feature")

    @property
    def title(self) -> str:
        return f"query-guided {super().title}"

    @property
    def needs_query(self) -> bool:
        return True
