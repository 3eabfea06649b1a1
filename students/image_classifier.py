"""A backbone under a classifier of images: what it is pretrained as."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from search_spaces.pick import Pick
from search_spaces.ranges import Count
from search_spaces.space import SearchSpace
from students.space import StudentModule, StudentSpace, check_num_ids


class ImageClassifierNet(StudentModule):
    """Backbone map -> global average pool -> linear classifier."""

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(cast(int, backbone.out_channels), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` to logits `[B, num_classes]`."""
        return self.classifier(self.backbone(x)["map"].mean(dim=(2, 3)))


@dataclass(frozen=True, kw_only=True)
class ImageClassifier(StudentSpace):
    """A classifier with any backbone, whose decisions it takes over with `backbone.` before their names."""

    task = "classification"

    backbone: SearchSpace
    num_classes: Count | None = None
    """Number of classes; None: as many as the data set has."""

    @property
    def title(self) -> str:
        return self.backbone.title

    @property
    def answers_images(self) -> bool:
        return False

    def with_ids(self, num_ids: int) -> ImageClassifier:
        check_num_ids(self.num_classes, num_ids)
        return replace(self, num_classes=num_ids)

    def build(self, pick: Pick, c_in: int = 3) -> ImageClassifierNet:
        if not self.num_classes:
            raise ValueError("num_classes must be the number of classes: use with_ids(...)")
        return ImageClassifierNet(self.backbone.build(pick.within("backbone"), c_in), self.num_classes)
