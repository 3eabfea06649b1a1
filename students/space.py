"""What every space of networks that can be trained has."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self, cast

from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace


class StudentModule(nn.Module):
    """A network that a stage can train. As a teacher it answers `teach(images, maps)`."""

    def inference(self) -> StudentModule:
        """What is measured, saved and exported: the network without what only its training needs."""
        return self

    def repeat_weights(self) -> None:
        """Starts what repeats the backbone from the backbone's weights: by default nothing does."""


class StudentSpace(SearchSpace):
    """A family of networks that a stage can train (`StudentModule`): students, teachers and baselines."""

    def student(self, architecture: Architecture | None = None, c_in: int = 3) -> StudentModule:
        return cast(StudentModule, super().student(architecture, c_in))

    @abstractmethod
    def with_ids(self, num_ids: int) -> Self:
        """This space for a data set of `num_ids` identities. Raises ValueError when it was made for another number."""

    def starting_from(self, pretrained: str) -> Self:
        """This space for a backbone that starts from the weights `pretrained`, or at random where it is empty: what it
        leaves open depends on it, by default nothing. Raises ValueError where it needs such weights and has none."""
        return self

    def small(self) -> Self:
        """The same with less work for each image, where that is no matter of its layers: by default it stays as it
        is."""
        return self

    @property
    def task(self) -> str:
        """What its networks are for: the name of a task, as data sets have it. Empty: it does not say."""
        return ""

    @property
    def answers_images(self) -> bool:
        """Whether its networks can be measured; what can only teach cannot."""
        return True

    @property
    def has_branches(self) -> bool:
        """Whether its networks have branches that a loss must train."""
        return False

    @property
    def needs_query(self) -> bool:
        """Whether its networks are shown whom they look for beside each frame, which a loss must train."""
        return False

    def inference(self, architecture: Architecture | None = None) -> tuple[StudentSpace, Architecture | None]:
        """The space of a network's `inference()`, and what `architecture` decides of it: by default the same."""
        return self, architecture


def check_num_ids(own: int | None, num_ids: int) -> None:
    """Raises ValueError unless a network for `own` identities, None for any, fits a data set of `num_ids`."""
    if own not in (None, num_ids):
        raise ValueError(
            f"the network is for {own} identities, the data set has {num_ids}: leave num_ids out to take the data set's"
        )


def check_task(what: str, own: str, task: object) -> None:
    """Raises ValueError unless `what`, which is for the task `own`, fits a data set's; where either does not say its
    name, it does."""
    if own and isinstance(task, str) and own != task:
        raise ValueError(f"{what} is for {own}, and the data set for {task}: take one for {task}")
