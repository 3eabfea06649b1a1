"""KSL through the real command: searched, taught, trained, cut down to the backbone; and what is refused beforehand."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.cli.cost import Subject, costs
from nas.cli.find_recipe import recipe_named
from nas.models.network import Network
from nas.run import Run
from nas.system.weights import load_state
from nas.training.build import build_network
from nas.training.optimisers import SGD, step
from nas.training.settings import Training
from search_spaces.architecture import Architecture
from search_spaces.resnet import ResNet
from students.ksl import KSL
from students.reid import ReID
from tests.nas.cli.program import nas

OWN = '''
from dataclasses import replace
from nas.data.sampling import ClassBalanced, Shuffled, Switched
from nas.losses.ksl import (KSLLoss)
from nas.losses.kd import (KDLoss)
from nas.losses.relations import (RKDLoss)
from nas.recipe import Recipe, TeacherRecipe
from runs.recipes.demo import toy
from search_spaces.resnet import ResNet
from students.ksl import KSL
from students.reid import ReID

BRANCHED = KSL(main=ReID(backbone=ResNet(width=1 / 16), embedding_dim=8), branches=("layer3", "layer4"))
SWITCHED = Switched(first=Shuffled(batch_size=8), then=ClassBalanced(num_ids=4, images_per_id=2, num_batches=3), at=1)

def everywhere() -> Recipe:
    """Teacher, searched student and baseline all have branches."""
    recipe = toy()
    training = replace(recipe.retrain, sampling=SWITCHED, validate_every=0)
    return replace(recipe, space=BRANCHED, student=None, baseline=replace(BRANCHED, branches=("layer2",)),
                   loss=KSLLoss(each=KDLoss(), triplet_from=1), retrain=training,
                   teacher=TeacherRecipe(net=BRANCHED, loss=KSLLoss(triplet_from=1), training=training))

def alone() -> Recipe:
    """The published student under no teacher."""
    return replace(everywhere(), strategy=None, teacher=None, baseline=None)

def opened() -> Recipe:
    """DARTS is to decide where branches start."""
    return replace(alone(), strategy=everywhere().strategy, space=replace(BRANCHED, open_branches=("layer2",)))

def branched_later() -> Recipe:
    """Searched without branches and retrained with them, both under the teacher's logits and relations."""
    recipe = everywhere()
    return replace(recipe, space=BRANCHED.main, student=BRANCHED, baseline=None, loss=RKDLoss(each=KDLoss()),
                   retrain_loss=RKDLoss(each=recipe.loss))
'''
HEARD = (("search", "weight"), ("retrain", "loss"))
CPU = ("--machine.device", "cpu", "--evaluation.num-strips", "1", "--json")


def history(folder: Path, stage: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{stage}.history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "recipes_of_the_ksl_test.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def run(recipes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ksl")
    assert nas("run", f"{recipes}:everywhere", "--out", folder, *CPU) == 0
    return folder


class TestRun:
    @pytest.mark.medium
    @pytest.mark.parametrize("name", ["teacher", "student", "baseline"])
    def test_what_is_saved_is_the_main_network_alone(self, run, name):
        network = Network.load(run / f"{name}.safetensors")
        plain = ReID(backbone=ResNet(width=1 / 16), embedding_dim=8, num_ids=6)
        assert network.space == plain and "branch" not in str(network.architecture)
        assert {n: p.shape for n, p in network.net.named_parameters()} == {
            n: p.shape for n, p in plain.student(network.architecture).named_parameters()
        }
        assert load_file(run / f"{name}.safetensors").keys() == plain.student(network.architecture).state_dict().keys()

    @pytest.mark.medium
    def test_what_is_measured_is_the_main_network_alone(self, run):
        rows = {row["role"]: row for row in json.loads((run / "metrics.json").read_text())["rows"]}
        for role, name in (("teacher", "teacher"), ("baseline", "baseline"), ("student", "student")):
            net = Network.load(run / f"{name}.safetensors").net
            assert rows[role]["parameters"] == sum(p.numel() for p in net.parameters()) - net.classifier.weight.numel()

    @pytest.mark.medium
    @pytest.mark.parametrize(
        "stage, loss",
        [("teach", "loss"), ("search", "weight"), ("search", "alpha"), ("retrain", "loss"), ("baseline", "loss")],
    )
    def test_triplet_losses_join_in_the_second_epoch(self, run, stage, loss):
        first, second = (set(line[loss]) for line in history(run, stage))
        own = {"total", "identity", "triplet", "aux", "pp", "pa", "ep", "ea"} | (
            set() if stage in ("teach", "baseline") else {"distill"}
        )
        assert (first, second) == (own, own | {"h"})

    @pytest.mark.medium
    def test_what_is_found_for_the_whole_fits_the_network_alone(self, run):
        found = Architecture.from_dict(json.loads((run / "architecture.json").read_text()))
        student = Network.load(run / "student.safetensors")
        assert student.architecture == found
        student.space.check(found)


def test_recipes_are_the_papers():
    """Section 4.2, and where Table 1's networks have their branches (section 4.3)."""
    recipe = recipe_named("ksl_mobilenet")[1]
    training, loss = recipe.retrain, recipe.loss
    assert (recipe.images.height, recipe.images.width, recipe.space.main.embedding_dim) == (256, 128, 512)
    assert (training.epochs, training.sampling.at, loss.triplet_from) == (350, 150, 150)
    assert (training.sampling.first.batch_size, training.sampling.then.batch_size) == (64, 64)
    assert isinstance(training.optimiser, SGD) and training.optimiser.rate.factor(350, 350) == 0.0
    assert (training.optimiser.lr, training.optimiser.weight_decay, training.pretrained) == (0.0015, 5e-4, "")
    assert recipe.teacher is None and {getattr(loss, part) for part in ("aux", "pp", "pa", "ep", "ea", "h")} == {1.0}
    assert [recipe_named(f"ksl_{name}")[1].space.branches for name in ("mobilenet", "shufflenet", "osnet")] == [
        ("stage4", "stage6"),
        ("stage3", "stage4"),
        ("conv3", "conv4"),
    ]


@pytest.mark.parametrize("name, on", [("aux", ""), ("p", "pp pa"), ("e", "ep ea"), ("h", "h"), ("p_e", "pp pa ep ea")])
def test_ablations_are_the_papers(name, on):
    """Table 4."""
    recipe, whole = (recipe_named(f"ksl_osnet{suffix}")[1] for suffix in (f"_{name}", ""))
    weights = {part: float(part in ("aux", *on.split())) for part in ("aux", "pp", "pa", "ep", "ea", "h")}
    assert recipe == replace(whole, loss=replace(whole.loss, **weights))


@pytest.mark.medium
def test_what_is_searched_alone_is_retrained_with_branches_and_relations(recipes, tmp_path):
    assert nas("run", f"{recipes}:branched_later", "--out", tmp_path, *CPU) == 0
    searched, retrained = (set(history(tmp_path, stage)[-1][loss]) for stage, loss in HEARD)
    assert searched == {"total", "identity", "triplet", "distill", "distance", "angle"}
    assert retrained == searched | {"aux", "pp", "pa", "ep", "ea", "h"}
    found = Architecture.from_dict(json.loads((tmp_path / "architecture.json").read_text()))
    assert Network.load(tmp_path / "student.safetensors").architecture == found


def test_from_scratch_is_as_small_as_it_says_whatever_is_found():
    """At most 2.5 M parameters are deployed; the training is that which OSNet was published with."""
    recipe = recipe_named("from_scratch")[1]
    assert recipe.student.main == recipe.space and not recipe.retrain.pretrained
    space, rng = recipe.space.with_ids(751), np.random.default_rng(0)
    architectures = [space.published(), *(space.sample(rng) for _ in range(5))]
    nets = [costs(Subject(recipe.space, each), 256, 128)["feature net"] for each in architectures]
    assert all(net.parameters < 2.5e6 for net in nets)
    training = recipe.retrain
    assert (training.optimiser.lr, training.optimiser.rate.milestones) == (0.065, (150, 225, 300))
    assert training.sampling.at == recipe.retrain_loss.each.triplet_from == 150


@pytest.mark.medium
def test_a_killed_training_goes_on_behind_the_switch(recipes, tmp_path, monkeypatch):
    """Three steps are an epoch; killed in the fifth, it ends with the weights of one that was not."""
    name, recipe = recipe_named(f"{recipes}:alone")
    whole, cut = (Run(tmp_path / folder, name, recipe) for folder in ("whole", "cut"))
    for run in (whole, cut):
        run.note_recipe()
    assert nas("retrain", whole.folder, *CPU) == 0

    class Killed(BaseException):
        pass

    steps = count(1)

    def killed(*arguments):
        if next(steps) == 5:
            raise Killed
        step(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("nas.training.train.step", killed)
        nas("retrain", cut.folder, "--machine.checkpoint-minutes", "0", *CPU)
    assert load_state(cut.folder / "retrain.ckpt")["step"] == 1
    assert nas("retrain", cut.folder, *CPU) == 0
    one, two = (load_file(run.folder / "student.safetensors") for run in (whole, cut))
    assert all(torch.equal(one[key], two[key]) for key in one | two)


def test_pretrained_branches_start_from_the_main_branchs_weights(tmp_path):
    backbone = ResNet(width=1 / 16)
    save_file(backbone.student().state_dict(), tmp_path / "resnet.safetensors")
    space = KSL(main=ReID(backbone=backbone, num_ids=6), branches=("layer3", "layer4"))
    data = recipe_named("toy")[1].load()
    net = build_network(space, None, data, Training(pretrained=str(tmp_path / "resnet.safetensors")), 0).net
    weights = load_file(tmp_path / "resnet.safetensors")
    assert torch.equal(net.main.backbone.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])
    for branch in net.branches.values():
        assert torch.equal(branch.backbone.stages["layer4"][0][0].conv1.weight, weights["layer4.0.conv1.weight"])


@pytest.mark.medium
@pytest.mark.parametrize(
    "recipe, changes, message",
    [
        ("alone", ["--space.branches", "layer5"], "has no layer5, it has layer2, layer3, layer4"),
        ("alone", ["--retrain.epochs", "1"], "the triplet losses join at epoch 1, but there are 1: lower triplet_from"),
        ("everywhere", ["--strategy.epochs", "1"], "the triplet losses join at epoch 1, but there are 1"),
        ("opened", [], "cannot keep all of branch.layer2 = [False, True]: decide it"),
    ],
)
def test_what_cannot_be_is_refused_before_work_starts(recipes, tmp_path, capfd, recipe, changes, message):
    assert nas("run", f"{recipes}:{recipe}", *changes, "--out", tmp_path, *CPU) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.glob("*.ckpt"))


def test_branches_need_a_loss_that_trains_them(recipes):
    _, recipe = recipe_named(f"{recipes}:alone")
    with pytest.raises(ValueError, match=r"branches of ResNet-18 x0.0625 with KSL need .*--loss ksl.*not KDLoss alone"):
        replace(recipe, loss=recipe.loss.each).load()
