"""What every training draws from: the data set's own noise, and the search's halves as the recipe splits them; what it
leaves as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from nas.data.splits import by_identity, by_image
from nas.losses.hints import HintLoss
from nas.recipe import Recipe
from nas.run import Run
from nas.stages.search import objective
from nas.strategies.settings import Search
from nas.training.machine import Machine
from nas.training.optimisers import SGD
from nas.training.settings import Training
from nas.training.stage import Stage
from nas.training.train import train
from search_spaces.resnet import ResNet
from students.hinted import Hint, Hinted
from students.reid import ReID

RECIPE = Recipe(
    data=Pedestrians(num_train_ids=5, num_test_ids=1, images_per_id=8, height=32, width=16),
    teacher=None,
    images=Images(height=32, width=16),
    search=Search(sampling=ClassBalanced(num_ids=2, images_per_id=2)),
    machine=Machine(device="cpu"),
    seed=4,
)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "search", "", RECIPE.machine)


def test_label_noise_reaches_training_and_both_halves_of_a_search(tmp_path: Path, stage: Stage):
    data = replace(RECIPE.data.load(), label_noise=0.25)
    task = RECIPE.task
    batches = task.batches(data, task.train_part(data, RECIPE), RECIPE.search, 0, stage)
    search = objective(Run(tmp_path, "toy", RECIPE), data, stage)
    assert [one.label_noise for one in (batches, search.weights, search.alphas)] == [0.25] * 3


@pytest.mark.parametrize(("split", "halves"), [("image", by_image), ("identity", by_identity)])
def test_search_splits_as_the_recipe_says_by_the_right_labels(tmp_path: Path, stage: Stage, split: str, halves):
    recipe = replace(RECIPE, search=replace(RECIPE.search, split=split))
    data = replace(recipe.data.load(), label_noise=0.25)
    search = objective(Run(tmp_path, "toy", recipe), data, stage)
    weights, alphas = halves(data.train_labels, np.random.default_rng(recipe.seed))
    assert search.weights.indices.tolist() == weights.tolist() and search.alphas.indices.tolist() == alphas.tolist()


def test_adapters_rest_without_a_teacher(stage: Stage):
    hints = (Hint(student="layer3", teacher="layer3", channels=4),)
    net = Hinted(main=ReID(backbone=ResNet(width=1 / 16), num_ids=5, embedding_dim=8), hints=hints).student()
    before = {name: tensor.clone() for name, tensor in net.named_parameters()}
    data, task = RECIPE.data.load(), RECIPE.task
    training = Training(epochs=1, optimiser=SGD(lr=0.1, weight_decay=0.0))
    batches = task.batches(data, task.train_part(data, RECIPE), RECIPE.search, 0, stage)
    train(net, batches, HintLoss(hints=("layer3",)), training, stage)
    moved = {name.partition(".")[0] for name, tensor in net.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == {"main"}
