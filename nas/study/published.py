"""A row of a published table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a paper's table: the run that reproduces it, and what the paper says came out."""

    name: str
    recipe: Recipe
    paper: Mapping[str, float] = field(default_factory=dict)
    """Shares in [0, 1] by the names of `metrics.json` (`rank1`, `rank5`, `rank10`, `rank20`, `mAP`, `detection_AP`,
    `detection_recall`), and `parameters`, `multiply_adds` and the `minutes` of the training; empty where the paper has
    a curve alone."""
    runs: tuple[Mapping[str, float], ...] = ()
    """The same of each run, where the paper prints them; `paper` is their mean."""
    counted_ids: int = 0
    """Training identities whose classifier is among the paper's parameters; 0: they leave it out, as ours do."""
    counts_backbone: bool = False
    """Whether the paper's parameters are the backbone's alone, without the embedding and the BNNeck that ours have."""
    role: str = "student"
    """Which of the run's networks the row is about."""
    reranked: bool = False
    """Whether the row is about what re-ranking makes of the network's results, which its recipe's evaluation then has
    beside those before."""
    members: tuple[Recipe, ...] = ()
    """Recipes whose teachers are joined as the row's, in this order; none: the recipe's own teacher is."""
    found_by: Recipe | None = None
    """Whose search, if it has a strategy, finds the student's architecture. Where the row's own recipe retrains from
    `imagenet`, that architecture is pretrained on `pretraining.data` first. None: the row's own recipe does all."""
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By what it is called the row that stands beside this one in a table of its own: of several that with the highest
    mAP."""
    same_as: str = ""
    """The name of an earlier row that it would be equal to, although the paper's are not: it is not run."""

    def is_same_run(self, other: Published) -> bool:
        """Whether both are about the same network of the same run."""
        return self._decides == other._decides

    @property
    def _decides(self) -> tuple[object, ...]:
        return (self.role, self.recipe, self.members, self.found_by)
