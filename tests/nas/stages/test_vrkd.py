"""VRKD's recipes against section 3.2 and Tables 1 to 3 of the paper."""

from dataclasses import replace

import pytest

from nas.cli.find_recipe import recipe_named
from nas.data.sampling import Shuffled
from nas.losses.vrkd import BranchesLoss, VRKDLoss
from search_spaces.resnet import ResNet
from teachers.directional import Directional
from teachers.temperature import Constant


def recipe(name: str):
    return recipe_named(name)[1]


def test_the_printed_schedule():
    for training in (recipe("vrkd").retrain, recipe("vrkd").teacher.training):
        sgd = training.optimiser
        epochs = (0, 2.5, 5, 59, 60, 89, 90, 109, 110, 119)
        rates = [sgd.lr * sgd.rate.factor(epoch, training.epochs) for epoch in epochs]
        assert rates == pytest.approx([2e-3, 1.1e-2, 2e-2, 2e-2, 2e-3, 2e-3, 2e-4, 2e-4, 2e-5, 2e-5])
        assert (training.epochs, sgd.momentum, sgd.weight_decay) == (120, 0.9, 5e-4)
        assert training.sampling == Shuffled(batch_size=256) and training.pretrained == "imagenet"
        assert (training.augment.flip, training.augment.erase, training.augment.crop_padding) == (0.5, 0.5, 0)


def test_the_loss_and_the_teacher():
    taught = recipe("vrkd")
    assert taught.loss == VRKDLoss(distill_weight=1.0, temperature=Constant(value=2.0), label_smoothing=0.1)
    assert taught.teacher.net == Directional(backbone=ResNet(depth=18, last_stride=1))
    assert taught.teacher.loss == BranchesLoss(each=VRKDLoss(label_smoothing=0.1))
    assert taught.loss.triplet_weight == 0


@pytest.mark.parametrize(
    ("name", "size", "pretrained"),
    [
        ("vrkd", 256, "imagenet"),
        ("vrkd_resnet50", 256, "imagenet"),
        ("vrkd_densenet", 256, "imagenet"),
        ("vrkd_mobilenet", 256, "imagenet"),
        ("vrkd_cnn", 128, ""),
        ("vrkd_sdc_cnn", 128, ""),
    ],
)
def test_each_student_alone_and_taught(name, size, pretrained):
    taught = recipe(name)
    assert (taught.images.height, taught.images.width, taught.retrain.pretrained) == (size, size, pretrained)
    assert taught.space.embedding_dim == 256 and taught.strategy is None
    assert recipe(f"{name}_alone") == replace(taught, teacher=None)


def test_the_last_stride_is_all_that_differs():
    plain, kept = recipe("vrkd"), recipe("vrkd_last_stride")
    assert kept == replace(plain, space=replace(plain.space, backbone=ResNet(depth=18, last_stride=1)))
