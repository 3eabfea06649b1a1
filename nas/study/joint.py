"""Architecture and distillation in one search: a space that asks for settings of the recipe, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from nas.recipe import Recipe
from nas.study.spaces import Space
from search_spaces.architecture import Architecture
from search_spaces.pick import Fixed, Pick
from search_spaces.space import SearchSpace
from students.space import StudentSpace

PREFIX = "settings"
NUM_POINTS = 5


def searched_space(recipe: Recipe, num_ids: int) -> StudentSpace | JointSpace:
    """The recipe's space, with its settings where they are searched, too."""
    space = recipe.space.with_ids(num_ids)
    return JointSpace(space, recipe, recipe.search.parameters) if recipe.search.parameters else space


def split_decisions(architecture: Architecture, recipe: Recipe) -> tuple[Architecture, dict[str, Any]]:
    """Of what a search of `recipe` tried the network's own decisions, and what it changes of the recipe beside them."""
    space = searched_space(recipe, 1)
    if not isinstance(space, JointSpace):
        return architecture, {}
    own = {name: answer for name, answer in architecture.decisions.items() if not name.startswith(f"{PREFIX}.")}
    return Architecture(type(space.main).__name__, own), space.overrides(architecture)


@dataclass(frozen=True)
class Questions:
    """In a trial's place: passes questions on to a Pick. Of a range it offers some points, its ends among them."""

    pick: Pick

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.pick.value(name, list(choices))

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        points = np.geomspace(low, high, NUM_POINTS) if log else np.linspace(low, high, NUM_POINTS)
        return self.pick.value(name, [float(f"{point:.4g}") for point in points])


@dataclass(frozen=True)
class JointSpace(SearchSpace):
    """What `main` asks, after what the settings ask (`settings.` before their names)."""

    main: StudentSpace
    recipe: Recipe
    parameters: str
    """Settings that are asked for, by the names of `nas tune --parameters`, such as `distillation`: temperature,
    schedule and weights of the recipe's loss, and the learning rate."""

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown name, and for settings that the recipe does not have."""
        super().__post_init__()
        if Space.named(self.parameters, self.recipe).has_architecture:
            raise ValueError(
                f"--search.parameters {self.parameters} asks for an architecture, which the search does anyway: "
                "give distillation, fast_reid or vrkd"
            )

    @property
    def title(self) -> str:
        return f"{self.main.title} with settings ({self.parameters})"

    def build(self, pick: Pick, c_in: int = 3) -> nn.Module:
        self._ask(pick)
        return self.main.build(pick, c_in)

    def overrides(self, architecture: Architecture) -> dict[str, Any]:
        """The settings that `architecture` decides, as encoded values of the recipe's fields."""
        return self._ask(Fixed(architecture))

    def _ask(self, pick: Pick) -> dict[str, Any]:
        space = Space.named(self.parameters, self.recipe)
        return space.propose(self.recipe, Questions(pick.within(PREFIX)), 1).overrides
