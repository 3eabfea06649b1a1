"""Person search in one network: a detector that also tells persons apart (Xiao et al. 2017, OIM)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from search_spaces.pick import Pick
from search_spaces.ranges import Channels, Count, PositiveShare, Range, Ranged, Share, ShareBelowOne
from search_spaces.space import SearchSpace, Staged
from students import regions
from students.cut import ConvHead, Cut, cut, make_constant, maps_of, norms_of, passed
from students.identity_table import IdentityTable, Matching
from students.losses import at_least_float32
from students.reid import check_names
from students.rpn import RPN, Anchors, Proposals
from students.scenes import (
    BACKGROUND,
    CountedAnswer,
    CountedPair,
    Detections,
    Guided,
    QueryFrames,
    Regions,
    SceneAnswer,
    Scenes,
    SearchOutput,
)
from students.space import StudentSpace, check_num_ids
from students.teaching import Detector, DetectorSays, SearchTeacher

Cells = Annotated[int, Range(least=1, most=64)]
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the head's box deltas (Detectron); the proposals' are 1."""


@dataclass(frozen=True, kw_only=True)
class RoIs(Ranged):
    """The regions that the head looks at, and those it is trained on."""

    size: tuple[Cells, Cells] = (14, 14)
    """Height and width of a region's map, in pixels; (14, 7) fits people at half the cost."""
    samples: Annotated[int, Range(least=1, most=8)] = 2
    """Points along each side of a bin of a region's map, which are averaged."""
    positive: PositiveShare = 0.5
    """Least IoU of a region with the person it stands for in training."""
    ignored: ShareBelowOne = 0.0
    """IoU below which regions are not trained on (Fast R-CNN: 0.1); those from it up to `positive` are background."""
    num_sampled: Count = 128
    """Regions of an image that the head is trained on."""
    share: Share = 0.5
    """Largest share of persons among the regions of an image that the head is trained on (Fast R-CNN: 0.25)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ignored >= self.positive:
            raise self.out_of_range("ignored", f"be below positive ({self.positive})")

    def small(self) -> RoIs:
        height, width = self.size
        return replace(self, size=(min(height, 4), min(width, 2)), num_sampled=min(self.num_sampled, 8))


@dataclass(frozen=True, kw_only=True)
class Found(Ranged):
    """Which regions are persons at test time."""

    score: ShareBelowOne = 0.5
    """Probability of a person above which a region is one."""
    overlap: Share = 0.4
    """Largest IoU of two persons that are found in an image; of two that overlap more the likelier one stays."""
    most: Count = 300
    """Most persons that are found in an image."""


class Asked(NamedTuple):
    """What a query-guided network makes of queries."""

    regions: Tensor
    """`[B, C, *rois.size]`: the maps of their boxes."""
    objectness: Tensor
    """`[B, A]` logits of "there is the person who is looked for"."""


class Seen(NamedTuple):
    """What a network makes of scenes before it looks at their regions."""

    maps: dict[str, Tensor]
    base: Tensor
    """The last map: the one that regions are cut from."""
    objectness: Tensor
    """`[B, A]` logits of the proposal network."""
    deltas: Tensor
    anchors: Tensor
    scores: Tensor
    """`[B, A]`: by which proposals are chosen."""
    asked: Asked | None = None


class PersonSearchNet(SearchTeacher):
    """Backbone's map -> proposals -> their regions of the map -> the backbone's last stages -> person, box, feature.

    In training it answers `Scenes` with a `SearchOutput`: all of its work is inside `forward`, as a supernet's mixing
    weights are there no longer. In eval mode it answers them with a `SceneAnswer`, and images alone with a
    `CountedAnswer`. Proposals and the regions that are chosen among them are constants: no gradient passes them.
    """

    def __init__(self, backbone: nn.Module, where: Cut, space: PersonSearch) -> None:
        super().__init__()
        self.where, self.space = where, space
        self.backbone = backbone
        self.rpn = RPN(where.channels, where.stride, space.anchors, space.proposals)
        self.conv_head = None if where.head else ConvHead(where.channels, space.conv_head)
        channels = cast(int, (self.conv_head or backbone).out_channels)
        self.person = nn.Linear(channels, 2)
        self.box = nn.Linear(channels, 4)
        for linear, std in ((self.person, 0.01), (self.box, 0.001)):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)
        self.out_channels = dim = space.embedding_dim or 0
        self.embedding = nn.Linear(channels, dim) if dim else None
        self.identities = IdentityTable(cast(int, space.num_ids), dim, space.matching) if dim else None

    def train(self, mode: bool = True) -> PersonSearchNet:
        super().train(mode)
        if self.space.norms in ("statistics", "all"):
            for norm in norms_of(self.backbone):
                norm.eval()
        return self

    def forward(self, scenes: Scenes | Tensor) -> SearchOutput | SceneAnswer | CountedAnswer | CountedPair:
        if isinstance(scenes, Tensor):
            return self._counted(scenes)
        seen = self.see(scenes.tensors, scenes.query)
        return self._trained(scenes, seen) if self.training else self._answer(scenes, seen)

    @property
    def detector(self) -> Detector | None:
        return self

    @property
    def taught_table(self) -> IdentityTable | None:
        return self.identities

    def say(self, scenes: Scenes, maps: Sequence[str]) -> DetectorSays:
        """What it says of scenes as a teacher, with its `maps` of these names. Raises ValueError when it lacks one."""
        seen = self.see(scenes.tensors)
        check_names("teacher", maps, seen.maps)
        told = {name: seen.maps[name] for name in maps}
        return DetectorSays(seen.objectness, seen.deltas, seen.anchors, told, seen.base, self.head)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps by name, in their order, up to the one that regions are cut from."""
        return maps_of(self.backbone, images, self.where.base)

    def head(self, base: Tensor, boxes: Sequence[Tensor]) -> Regions:
        """What it says of each image's `boxes` on the map `base`, whatever boxes they are."""
        return self._regions(self._pooled(base, boxes))

    def _pooled(self, base: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """The maps of each image's `boxes`, `[R, C, *rois.size]`."""
        how = self.space.rois
        return regions.roi_align(base, boxes, how.size, self.where.stride, how.samples)

    def _regions(self, x: Tensor) -> Regions:
        """What the head says of regions whose maps are `x [R, C, *rois.size]`."""
        if self.conv_head is not None:
            x = self.conv_head(x)
        else:
            stages = cast(Staged, self.backbone).stages()
            for name in self.where.head:
                x = passed(stages[name], x)
        x = x.mean(dim=(2, 3)) if self.space.pool == "average" else x.amax(dim=(2, 3))
        embedding = x[:, :0] if self.embedding is None else self.embedding(x)
        person, box, embedding = map(at_least_float32, (self.person(x), self.box(x), embedding))
        return Regions(person, box, F.normalize(embedding, dim=1))

    def see(self, images: Tensor, query: QueryFrames | None = None) -> Seen:
        """What it makes of images, each beside its query, before it looks at regions."""
        maps = self.maps(images)
        base = maps[self.where.base[-1]]
        objectness, deltas, anchors = self.rpn(base)
        return Seen(maps, base, objectness, deltas, anchors, scores=objectness)

    def see_alone(self, images: Tensor) -> Seen:
        """What it makes of images where nothing else is given: what is counted and timed."""
        return self.see(images)

    def _counted(self, images: Tensor) -> CountedAnswer | CountedPair:
        seen = self.see_alone(images)
        return CountedAnswer(seen.objectness, seen.deltas, self._whole(images, seen.base), seen.maps)

    def _whole(self, images: Tensor, base: Tensor) -> Regions:
        """What the head says of as many regions of each image as are kept at test time, all of them the whole image."""
        height, width = images.shape[2:]
        whole = images.new_tensor([0.0, 0.0, width, height]).expand(self.space.proposals.num_kept_at_test, 4)
        return self.head(base, [whole] * len(images))

    def _answer(self, scenes: Scenes, seen: Seen) -> SceneAnswer:
        return SceneAnswer(tuple(self._detect(seen, scenes)), self._describe(seen.base, scenes), seen.maps)

    def _describe(self, base: Tensor, scenes: Scenes) -> tuple[Tensor, ...]:
        numbers = [len(boxes) for boxes in scenes.boxes]
        if not any(numbers):
            return tuple(base.new_empty(0, self.out_channels) for _ in numbers)
        return self.head(base, scenes.boxes).embedding.split(numbers)

    def _detect(self, seen: Seen, scenes: Scenes) -> list[Detections]:
        proposals = self.rpn.propose(seen.scores, seen.deltas, seen.anchors, scenes.sizes)
        said = self.head(seen.base, proposals)
        numbers = [len(boxes) for boxes in proposals]
        by_image = zip(proposals, scenes.sizes, *(part.split(numbers) for part in said), strict=True)
        return [self._find(rois, size, Regions(*said)) for rois, size, *said in by_image]

    def _find(self, rois: Tensor, size: Tensor, said: Regions) -> Detections:
        """The persons in one image of `size`."""
        how = self.space.found
        boxes = regions.clip(regions.decode(said.box_deltas, rois, BOX_WEIGHTS), size)
        scores = F.softmax(said.class_logits, dim=1)[:, 1]
        rows = ((scores > how.score) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)).nonzero().squeeze(1)
        rows = rows[regions.choose(boxes[rows], scores[rows], how.overlap, how.most)]
        return Detections(boxes[rows], scores[rows], said.embedding[rows])

    def _trained(self, scenes: Scenes, seen: Seen) -> SearchOutput:
        scenes = scenes._replace(boxes=tuple(boxes.to(seen.deltas.dtype) for boxes in scenes.boxes))
        generator = torch.Generator().manual_seed(scenes.seed)
        right = self.rpn.targets(seen.anchors, scenes.boxes, generator)
        proposals = self.rpn.propose(seen.scores, seen.deltas, seen.anchors, scenes.sizes)
        rois, labels, targets, ids = self._regions_to_train(proposals, scenes, generator)
        said, guided = self._look(scenes, seen, rois, ids)
        if scenes.table is not None and self.identities is not None:
            self.identities.fix(scenes.table)
        id_logits = said.embedding if self.identities is None else self.identities(said.embedding, ids)
        return SearchOutput(
            objectness=seen.objectness,
            deltas=seen.deltas,
            anchors=seen.anchors,
            anchor_labels=right.labels,
            anchor_targets=right.deltas,
            sampled=right.sampled,
            rois=rois,
            class_logits=said.class_logits,
            box_deltas=said.box_deltas,
            roi_labels=labels,
            roi_targets=targets,
            embedding=said.embedding,
            roi_ids=ids,
            id_logits=id_logits,
            maps=seen.maps,
            guided=guided,
        )

    def _look(self, scenes: Scenes, seen: Seen, rois: Sequence[Tensor], ids: Tensor) -> tuple[Regions, Guided | None]:
        """What the head says of each image's `rois`, whose identities are `ids [R]`, and what guidance adds."""
        return self.head(seen.base, rois), None

    @torch.no_grad()
    def _regions_to_train(
        self, proposals: Sequence[Tensor], scenes: Scenes, generator: torch.Generator
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor]:
        """By chance some of the proposals and of the persons' own boxes: for each image the boxes `[R_i, 4]`, and of
        all of them labels `[R]`, targets `[R, 4]` and identities `[R]`."""
        how, found = self.space.rois, []
        for proposed, boxes, persons in zip(proposals, scenes.boxes, scenes.labels, strict=True):
            rois = torch.cat([proposed, boxes])
            index, labels = regions.match(box_iou(boxes, rois), how.positive, how.positive, how.ignored)
            rows = chosen(regions.sample(labels, how.num_sampled, how.share, generator), how.num_sampled)
            rois, index, labels = rois[rows], index[rows], labels[rows]
            ids = torch.full_like(labels, BACKGROUND)
            if len(persons):
                ids = persons[index].where(labels == 1, ids)
            found.append((rois, labels, regions.targets(boxes, rois, index, labels, BOX_WEIGHTS), ids))
        drawn, *of_all = zip(*found, strict=True)
        labels, targets, ids = map(torch.cat, of_all)
        return drawn, labels, targets, ids


def chosen(mask: Tensor, most: int) -> Tensor:
    """The indices of those in `mask`; on the meta device, which has no values, as many as there can be."""
    return torch.arange(min(len(mask), most), device="meta") if mask.is_meta else mask.nonzero().squeeze(1)


@dataclass(frozen=True, kw_only=True)
class PersonSearch(StudentSpace):
    """Person search with any backbone, whose decisions it takes over with `backbone.` before their names.

    The backbone's stages up to a stride make the map that proposals come from, and the later ones are the head, as in
    OIM with ResNet-50's conv1 to conv4 and conv5. A backbone without stages, such as `Cells`, makes the whole map.
    Deviation from OIM's first code: with frozen statistics its first convolution was fixed, here it learns.
    """

    task = "person_search"
    network: ClassVar[type[PersonSearchNet]] = PersonSearchNet

    backbone: SearchSpace
    num_ids: Count | None = None
    """Number of training identities; None: as many as the data set has."""
    embedding_dim: Channels | None = 256
    """Length of a person's feature; None: a detector alone, as the teacher of KD_det is."""
    stride: Annotated[int, Range(least=1, most=64)] = 16
    """Largest stride of the map that regions are cut from, in pixels; 8 for small scenes."""
    head_from: str | None = None
    """Stage of the backbone that the head begins with; None: the first with a larger stride than the map. OSNet, which
    has none: `conv4`."""
    conv_head: Channels = 256
    """Channels of the two convolutions that are the head of a backbone without stages."""
    pool: Literal["average", "max"] = "average"
    """How the head's map of a region becomes a vector: its average or its maximum."""
    norms: Literal["statistics", "all", "batch"] | None = None
    """The backbone's BatchNorms: with fixed statistics, with fixed scales and shifts as well, or with the batch's
    statistics. None: with fixed statistics where the backbone starts from pretrained weights, else the batch's."""
    anchors: Anchors = field(default_factory=Anchors)
    proposals: Proposals = field(default_factory=Proposals)
    rois: RoIs = field(default_factory=RoIs)
    found: Found = field(default_factory=Found)
    matching: Matching = field(default_factory=Matching)

    @property
    def title(self) -> str:
        return self.backbone.title

    def with_ids(self, num_ids: int) -> PersonSearch:
        check_num_ids(self.num_ids, num_ids)
        return replace(self, num_ids=num_ids)

    def starting_from(self, pretrained: str) -> PersonSearch:
        if not pretrained and self.norms in ("statistics", "all"):
            raise ValueError(
                f"norms={self.norms!r} keeps the statistics of pretrained weights, and there are none: give "
                "`pretrained` weights, or leave norms out"
            )
        return replace(self, norms=self.norms or ("statistics" if pretrained else "batch"))

    def small(self) -> PersonSearch:
        """With few and small regions."""
        return replace(self, proposals=self.proposals.small(), rois=self.rois.small())

    def build(self, pick: Pick, c_in: int = 3) -> PersonSearchNet:
        if not self.num_ids:
            raise ValueError("num_ids must be the number of training identities: use with_ids(...)")
        if self.norms in ("statistics", "all") and not pick.affine:
            raise ValueError(
                f"a supernet normalises its candidates by the batch's statistics, and norms={self.norms!r} fixes them: "
                "leave norms out, so that the student that is found has them"
            )
        where = cut(self.backbone, pick, c_in, self.stride, self.head_from, self.rois.size)
        net = self.network(self.backbone.build(pick.within("backbone"), c_in), where, self)
        if self.norms == "all":
            for norm in norms_of(net.backbone):
                make_constant(norm)
        return net.train()
