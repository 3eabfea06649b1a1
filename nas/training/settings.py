"""How one network is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nas.data.augment import Augment, SceneAugment
from nas.data.sampling import ClassBalanced, QueryPairs, Sampling
from nas.training.optimisers import Adam, CosineLR, Optimiser
from search_spaces.ranges import ADDED, Count, CountOrZero, Positive, Ranged


@dataclass(frozen=True, kw_only=True)
class Training(Ranged):
    """How one network is trained. The defaults are KDAS-ReID's training configuration (section 4.2.2).

    The paper names a "starting learning rate" without saying how it falls: here by half a cosine.
    """

    epochs: Count = 200
    """Epochs of the training."""
    optimiser: Optimiser = field(default_factory=lambda: Adam(lr=3.5e-4, rate=CosineLR(final=0.01)))
    sampling: Sampling | QueryPairs = field(default_factory=lambda: ClassBalanced(num_ids=8, images_per_id=4))
    augment: Augment | SceneAugment = field(default_factory=Augment)
    clip: Positive | None = None
    """Largest norm of the gradient; None: it is not clipped."""
    pretrained: str = ""
    """Initial weights of the backbone: none, `imagenet` (downloaded) or a checkpoint's path."""
    frozen: bool = field(default=False, metadata=ADDED)
    """Whether what the file of `pretrained` has stays as it is, and only the rest is trained: a classifier for other
    identities behind a network that others have trained."""
    validate_every: CountOrZero = 0
    """Epochs between evaluations on the test split; 0: never. They only inform: the last epoch's network is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frozen and not self.pretrained:
            raise ValueError("frozen keeps the weights of `pretrained` as they are, which is empty: give it a file")

    def from_scratch(self) -> Training:
        """The same from random weights."""
        return replace(self, pretrained="", frozen=False)

    def small(self) -> Training:
        """Two epochs of small batches, from scratch."""
        return replace(
            self.from_scratch(),
            epochs=2,
            sampling=self.sampling.small(),
            augment=self.augment.small(),
            validate_every=0,
        )
