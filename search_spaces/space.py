"""A family of networks: a search space, and a backbone that can be cut between its stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import Field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.pick import Discrete, EveryCandidate, Fixed, Pick, Sampled
from search_spaces.ranges import Ranged


@runtime_checkable
class Staged(Protocol):
    """A backbone that can be cut between its stages, so that its end can be repeated (KSL).

    A backbone may do without.
    """

    out_channels: int

    def stages(self) -> Mapping[str, Iterable[nn.Module]]:
        """All of the network by name, in the order of the forward pass; nothing is in two stages.

        The modules of a stage run one after the other, the first stage's on the images, and leave their input as it
        is. What comes out is in the forward pass's maps under the stage's name, behind the last stage as `map`.
        """


class Learning(Protocol):
    """A module that, in training, keeps something of what it sees in its forward pass, but while `learning` is False.

    BatchNorm's running statistics, which have no such switch, are known as they are.
    """

    learning: bool


class SearchSpace(Ranged, ABC):
    """A family of networks: a frozen dataclass of its constants, and one method."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def title(self) -> str:
        """What it is, for tables and reports."""
        return type(self).__name__

    @abstractmethod
    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        """The network that `pick`'s answers make, for images of `c_in` channels.

        A backbone has `.out_channels` and returns its maps `[B, C, H, W]` by name, of which `map` is the last and has
        those channels. What networks with heads return is theirs (`students.reid.ReIDOutput`).
        """

    def student(self, architecture: Architecture | None = None, c_in: int = 3) -> nn.Module:
        """An ordinary network: no mixed operation, no alpha, no dead branch. No architecture: the published one.

        Raises ValueError when the architecture leaves a question open, or decides one that is not asked.
        """
        pick = Fixed(architecture)
        net = self.build(pick, c_in)
        pick.close()
        return net

    def sample(self, rng: np.random.Generator, near: Architecture | None = None) -> Architecture:
        """An architecture by chance that keeps what `near` decides."""
        return self._answers(Sampled(rng, near))

    def published(self) -> Architecture:
        """The first answer to every question: what `student()` builds."""
        return self._answers(Fixed())

    def check(self, architecture: Architecture) -> None:
        """Raises ValueError unless this space can build `architecture`; allocates nothing."""
        with torch.device("meta"):
            self.student(architecture)

    def check_candidates(self) -> None:
        """Raises ValueError naming a candidate that does not say its `out_channels`; allocates nothing."""
        self._answers(EveryCandidate())

    def _answers(self, pick: Discrete) -> Architecture:
        with torch.device("meta"):
            self.build(pick)
        return Architecture(type(self).__name__, dict(pick.answers))
