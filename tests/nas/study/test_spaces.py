"""Spaces ask a trial for what a recipe has, and tuned files bring what was found into a recipe."""

import json
from dataclasses import dataclass, replace

import optuna
import pytest
from torch import nn

from nas.cli.arguments import parse_recipe_args
from nas.losses.dist import DISTLoss
from nas.losses.dkd import DKDLoss
from nas.losses.hints import HintLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.oim import DetectorKD, OIMLoss
from nas.losses.relations import PKTLoss, RKDLoss, SimilarityLoss
from nas.losses.vrkd import VRKDLoss
from nas.recipe import Recipe
from nas.study.overrides import read_overrides, write_overrides
from nas.study.spaces import SPACES, Space
from nas.system.config import apply_overrides, decode
from runs.recipes.fast_reid import fast_reid
from runs.recipes.kdas import auto_reid
from runs.recipes.person_search import toy_street
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.temperature import Constant, Cosine, Linear, Temperature

RECIPE = fast_reid().small()


@dataclass(frozen=True)
class Closed(SearchSpace):
    """A space that asks nothing."""

    def build(self, pick, c_in=3):
        net = nn.Conv2d(c_in, 8, 1)
        net.out_channels = 8
        return net


def proposal(space, recipe=RECIPE, seed=0, **params):
    """What a random trial with some fixed parameters proposes, and the trial."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.enqueue_trial(params)
    trial = study.ask()
    return Space.named(space, recipe).propose(recipe, trial, 6), trial


def test_the_papers_grid():
    grid = Space.named("fast_reid", RECIPE).grid()
    assert sorted((point["temperature"], point["loss.alpha"]) for point in grid) == [
        (t, alpha) for t in (1.0, 2.0, 5.0, 10.0) for alpha in (0.1, 0.3, 0.5)
    ]
    found, trial = proposal("fast_reid", **grid[7])
    recipe = apply_overrides(RECIPE, found.overrides)
    assert trial.params == grid[7] and found.architecture is None
    assert recipe.loss.temperature == Constant(value=grid[7]["temperature"])
    assert recipe.loss.alpha == grid[7]["loss.alpha"]
    assert replace(recipe, loss=RECIPE.loss) == RECIPE


def test_what_ksl_leaves_open_is_a_grid_of_four():
    recipe = replace(RECIPE, loss=KSLLoss(triplet_from=1))
    grid = Space.named("ksl", recipe).grid()
    assert sorted(tuple(point.values()) for point in grid) == [
        (on, joins) for on in ("embedding", "feature") for joins in (False, True)
    ]
    found, trial = proposal("ksl", recipe)
    tuned = apply_overrides(recipe, found.overrides).loss
    assert (tuned.on, tuned.e_joins) == (trial.params["loss.on"], trial.params["loss.e_joins"])


def test_a_rate_is_chosen_around_the_recipes_own():
    own = RECIPE.retrain.optimiser.lr
    grid = [point["retrain.optimiser.lr"] for point in Space.named("rate", RECIPE).grid()]
    assert grid == pytest.approx([own / 3, own, 3 * own], rel=5e-3) and grid[1] == own
    found, trial = proposal("rate", **Space.named("rate", RECIPE).grid()[2])
    assert (
        apply_overrides(RECIPE, found.overrides).retrain.optimiser.lr == grid[2] == trial.params["retrain.optimiser.lr"]
    )


def test_the_weight_of_identities_and_what_a_detector_teaches():
    recipe = toy_street()
    assert [point["loss.weight"] for point in Space.named("oim_weight", recipe).grid()] == [0.1, 0.3, 0.6, 1.0]
    found, trial = proposal("oim_weight", recipe)
    assert apply_overrides(recipe, found.overrides).loss == replace(recipe.loss, weight=trial.params["loss.weight"])
    with pytest.raises(ValueError, match=r"the space 'kd_det' sets loss\.detector\.mu, which the recipe does not have"):
        Space.named("kd_det", recipe)
    recipe = replace(recipe, loss=OIMLoss(detector=DetectorKD()))
    found, trial = proposal("kd_det", recipe)
    loss = apply_overrides(recipe, found.overrides).loss
    assert (loss.detector.mu, loss.detector.gamma) == (
        trial.params["loss.detector.mu"],
        trial.params["loss.detector.gamma"],
    )
    assert loss.temperature == Constant(value=trial.params["temperature"])


def test_of_a_loss_around_another_the_inner_one_is_tuned():
    recipe = replace(RECIPE, loss=HintLoss(each=KSLLoss(each=RECIPE.loss), hints=("layer3",)))
    found, trial = proposal("fast_reid", recipe, temperature=10.0, **{"loss.alpha": 0.5})
    inner = replace(RECIPE.loss, alpha=0.5, temperature=Constant(value=10.0))
    assert trial.params == {"temperature": 10.0, "loss.alpha": 0.5}
    assert apply_overrides(recipe, found.overrides).loss == replace(recipe.loss, each=KSLLoss(each=inner))


def test_vrkds_sweep_has_the_papers_own_point():
    recipe = replace(RECIPE, loss=VRKDLoss())
    assert {"temperature": 2.0, "loss.distill_weight": 1.0} in Space.named("vrkd", recipe).grid()


@pytest.mark.parametrize("schedule, kind", [("constant", Constant), ("linear", Linear), ("cosine", Cosine)])
def test_a_temperatures_end_is_asked_where_it_falls(schedule, kind):
    found, trial = proposal("distillation", schedule=schedule)
    temperature = decode(found.overrides["loss.temperature"], Temperature)
    assert type(temperature) is kind and ("temperature_end" in trial.params) == (kind is not Constant)
    assert temperature.at(0, 10) == pytest.approx(trial.params["temperature"])


@pytest.mark.parametrize(
    "loss, weight",
    [(RECIPE.loss, "loss.alpha"), (KDASLoss(), "loss.distill_weight"), (VRKDLoss(), "loss.distill_weight")],
)
def test_distillation_asks_for_what_the_loss_has(loss, weight):
    recipe = replace(RECIPE, loss=loss)
    found, _ = proposal("distillation", recipe)
    assert {key for key in found.overrides if key.startswith("loss.")} == {
        weight,
        "loss.triplet_weight",
        "loss.margin",
        "loss.temperature",
    }
    assert isinstance(apply_overrides(recipe, found.overrides), Recipe)


@pytest.mark.parametrize(
    "loss, weights",
    [
        (RKDLoss(angle_weight=0.0), {"loss.distance_weight": 1.0}),
        (PKTLoss(each=SimilarityLoss()), {"loss.pkt_weight": 20.0, "loss.each.similarity_weight": 20.0}),
        (DKDLoss(), {"loss.target_weight": 1.0, "loss.others_weight": 8.0}),
        (DISTLoss(), {"loss.inter_weight": 1.0, "loss.intra_weight": 1.0}),
    ],
)
def test_the_weights_of_what_a_teacher_says_are_around_their_own(loss, weights):
    recipe = replace(RECIPE, loss=loss)
    found, _ = proposal("distillation", recipe)
    asked = {key: value for key, value in found.overrides.items() if key.endswith("_weight")}
    assert asked.keys() == weights.keys() | {key for key in asked if key.endswith("triplet_weight")}
    assert all(own / 5 <= asked[key] <= own * 5 for key, own in weights.items())
    assert ("loss.temperature" in found.overrides) == bool(loss.temperature)
    assert isinstance(apply_overrides(recipe, found.overrides), Recipe)
    with pytest.raises(ValueError, match="the recipe has no teacher"):
        Space.named("distillation", replace(recipe, teacher=None))


def test_the_learning_rate_is_around_the_recipes_own():
    own = RECIPE.retrain.optimiser.lr
    rates = [proposal("distillation", seed=seed)[0].overrides["retrain.optimiser.lr"] for seed in range(40)]
    assert own / 5 <= min(rates) < own / 2 and own * 2 < max(rates) <= own * 5


@pytest.mark.parametrize("name", ["distillation+architecture", "joint"])
def test_an_architecture_is_one_that_the_student_can_be(name):
    found, trial = proposal(name)
    RECIPE.retrained.with_ids(6).check(found.architecture)
    assert found.architecture.decisions.items() <= trial.params.items() and "loss.alpha" in found.overrides


@pytest.mark.parametrize(
    "name, recipe, message",
    [
        ("fast_ried", RECIPE, "no parameters are called 'fast_ried' .did you mean 'fast_reid'"),
        ("fast_reid", replace(RECIPE, loss=KDASLoss()), "sets loss.alpha, which the recipe does not have .*KDASLoss"),
        ("fast_reid", replace(RECIPE, loss=KSLLoss()), "sets loss.alpha, which .* not have .*KSLLoss"),
        ("distillation", replace(RECIPE, teacher=None), "the recipe has no teacher"),
        ("architecture", replace(RECIPE, space=ReID(backbone=Closed())), "nothing is open in Closed"),
    ],
)
def test_a_space_that_does_not_fit(name, recipe, message):
    with pytest.raises(ValueError, match=message):
        Space.named(name, recipe)


@pytest.mark.parametrize("name", ["distillation", "architecture", "fast_reid+architecture"])
def test_no_grid_of_numbers_and_architectures(name):
    with pytest.raises(ValueError, match="a grid needs values to choose among.*--sampler tpe"):
        Space.named(name, RECIPE).grid()


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path):
        found, _ = proposal("distillation+architecture")
        path = tmp_path / "tuned.json"
        return write_overrides(path, found.overrides, found.architecture, recipe="fast_reid", trial=3), found

    def test_a_recipe_takes_it(self, file):
        path, found = file
        recipe = read_overrides(RECIPE, path)
        assert recipe == replace(apply_overrides(RECIPE, found.overrides), architecture=path)
        assert Architecture.from_dict(json.loads(path.read_text())) == found.architecture

    def test_the_command_line_takes_it_and_has_the_last_word(self, file):
        path, _ = file
        recipe, _ = parse_recipe_args(
            fast_reid(), ["--small", "--overrides", str(path), "--loss.margin", "0.7"], "nas", ""
        )
        assert recipe == replace(
            read_overrides(RECIPE, path), loss=replace(read_overrides(RECIPE, path).loss, margin=0.7)
        )

    @pytest.mark.parametrize(
        "content, message",
        [
            ({}, "is no tuned file"),
            ([1], "is no tuned file"),
            ({"format": 9, "changes": {}}, "has format 9, this version reads 1"),
            ({"recipe": "other", "changes": {"loss.alhpa": 0.1}}, r"'other'.*no field 'alhpa' .did you mean 'alpha'"),
            ({"changes": {"seed.x": 1}}, r"recipe.seed \(int\) has no field 'x'"),
            ({"changes": {"loss.alpha": "much"}}, "recipe.loss.alpha must be .*'much'"),
            ({"changes": {"loss.alpha": 10**400}}, r"tuned\.json .*too large"),
            ({"changes": {"loss.alpha": 7}}, r"recipe\.loss\.alpha must be at most 1, not 7"),
            ({"changes": {"loss": {"kind": "Pickle"}}}, "'Pickle', which is not known here"),
        ],
    )
    def test_one_that_does_not_fit(self, tmp_path, content, message):
        path = tmp_path / "tuned.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            read_overrides(RECIPE, path)


def test_every_spaces_parameters_are_asked_of_some_recipe():
    recipes = {
        "vrkd": replace(RECIPE, loss=VRKDLoss()),
        "ksl": replace(RECIPE, loss=KSLLoss()),
        "oim_weight": replace(RECIPE, loss=OIMLoss()),
        "kd_det": replace(RECIPE, loss=OIMLoss(detector=DetectorKD())),
    }
    for name in SPACES:
        found, _ = proposal(name, recipes.get(name, RECIPE))
        assert found.overrides or found.architecture


def test_cells_can_be_proposed():
    recipe = auto_reid().small()
    found, trial = proposal("architecture", recipe)
    recipe.retrained.with_ids(6).check(found.architecture)
    assert any("<" in name for name in trial.params)
