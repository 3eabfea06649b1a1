"""What every space of networks that can be trained has."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


class StudentSpace(SearchSpace):
    """A family of networks that a stage can train: students, teachers and baselines.

    A network has `inference()`, the network without what only its training needs, and `repeat_weights()`, which starts
    what repeats its backbone from the backbone's weights. As a teacher it answers `teach(images, maps)`.
    """

    @abstractmethod
    def with_ids(self, num_ids: int) -> Self:
        """This space for a data set of `num_ids` identities. Raises ValueError when it was made for another number."""

    @property
    def has_branches(self) -> bool:
        """Whether its networks have branches that a loss must train."""
        return False

    def inference(self, architecture: Architecture | None = None) -> tuple[StudentSpace, Architecture | None]:
        """The space of a network's `inference()`, and what `architecture` decides of it: by default the same."""
        return self, architecture
