"""A run's test split and training images, as exported files are measured on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from nas.data.augment import normalise
from nas.data.images import Images
from nas.models.card import Card
from nas.recipe import Recipe
from nas.run import Run
from nas.stages.export_form import Form
from nas.system.progress import timed
from nas.tasks.base import Retrieved, Retrieves, image_size
from nas.training.stage import Stage


class ExportData:
    """Images of the run's data set at the size of a file, and at that of the run. Everything runs on the CPU, in fp32.

    Raises ValueError where they cannot be had.
    """

    def __init__(self, run: Run, form: Form, card: Card) -> None:
        self.folder, self.card, self.own = run.folder, card, run.recipe
        self.recipe = sized(run.recipe, card)
        task = run.recipe.task
        if not isinstance(task, Retrieves):
            raise ValueError(f"the files of the task {type(task).__name__} cannot be measured: give --no-measure")
        self.task: Retrieves = task
        try:
            self.data = run.recipe.data.load()
            task.check_evaluation(self.data, run.recipe.evaluation)
        except (ValueError, OSError) as error:
            helps = "int8 needs its training images" if form.precision == "int8" else "--no-measure exports without it"
            raise ValueError(f"the run's data set cannot be read ({error}): {helps}") from error
        self.stage = Stage(run.folder, "export", "", replace(run.recipe.machine.alone(), device="cpu", precision="32"))

    @cached_property
    def part(self) -> Any:
        """The test split at the file's size."""
        return self.own.task.test_part(self.data, self.recipe)

    def find(self, net: nn.Module, title: str) -> Retrieved:
        """What a network finds on the test split at the file's size."""
        with timed(f"{title}: features of the test split", self.folder):
            return self.task.retrieve(net, self.part, self.recipe, self.stage, title)

    def find_at_own_size(self, net: nn.Module, title: str) -> Retrieved:
        """The same at the size that the run's networks were trained for."""
        if self.recipe == self.own:
            return self.find(net, title)
        with timed(f"{title}: features of the test split", self.folder):
            part = self.own.task.test_part(self.data, self.own)
            return self.task.retrieve(net, part, self.own, self.stage, title)

    def calibration(self, num_images: int) -> Tensor:
        """Training images as the file takes them, `[N, 3, H, W]`. Raises ValueError where there are none."""
        images = self.task.calibration(self.data, self.recipe, num_images)
        if not len(images):
            raise ValueError("int8 is calibrated on training images, and the run's data set has none")
        return images if self.card.takes == "uint8" else normalise(images)


def sized(recipe: Recipe, card: Card) -> Recipe:
    """The recipe with images of the card's size."""
    if image_size(recipe.task, recipe) == (card.height, card.width):
        return recipe
    assert isinstance(recipe.images, Images), "tasks of scenes retrieve otherwise"
    return replace(recipe, images=replace(recipe.images, height=card.height, width=card.width))
