"""Flags that decide which other flags there are: they are read as all others are, and mistakes are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.arguments import (
    is_other,
    parse_network_args,
    parse_recipe_args,
    pop_restarted,
    spell_out,
)
from nas.cli.find_recipe import recipe_named
from nas.cli.flags import pop_options
from nas.cli.parts import strategy_named
from nas.cli.run_command import check_restarted
from nas.data.sets.vehicles import Vehicles
from nas.losses.kd import KDLoss
from nas.strategies import STRATEGIES
from nas.strategies.discrete import DiscreteSearch
from nas.strategies.gdas import GDAS
from nas.study.overrides import write_overrides
from runs.recipes.demo import toy
from search_spaces.mobilenet_v2 import MobileNetV2
from students.named import STUDENTS


def parsed(*arguments):
    return parse_recipe_args(toy(), list(arguments), "nas", "")[0]


@pytest.fixture(scope="module")
def overrides_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "tuned.json"
    write_overrides(path, {"loss.margin": 0.5}, None)
    return path


@pytest.mark.parametrize("join", ["--{}={}", "--{} {}"])
class TestBothSpellings:
    @pytest.mark.medium
    def test_a_data_set(self, join):
        assert isinstance(parsed(*join.format("on", "vehicles").split(), "--data.height", "48").data, Vehicles)

    def test_a_data_set_of_another_task_is_refused(self, join):
        with pytest.raises(ValueError, match="street is a data set for person_search, and the recipe, on Pedestrians,"):
            parsed(*join.format("on", "street").split())

    def test_a_strategy(self, join):
        assert parsed(*join.format("strategy", "gdas").split()).strategy == GDAS(epochs=toy().strategy.epochs)

    def test_a_tuned_file(self, join, overrides_file):
        assert parsed(*join.format("overrides", overrides_file).split()).loss.margin == 0.5

    @pytest.mark.parametrize("part", ["teacher", "strategy", "baseline", "student"])
    def test_a_part_left_out(self, join, part):
        assert parsed(*join.format(part, "None").split()) == replace(toy(), **{part: None})

    @pytest.mark.parametrize("file, architecture", [("a.json", Path("a.json")), ("None", None)])
    def test_an_architecture(self, join, file, architecture):
        assert parsed(*join.format("architecture", file).split()).architecture == architecture

    def test_a_short_flag(self, join):
        assert parsed(*join.format("distance", "euclidean").split()).evaluation.distance == "euclidean"

    def test_the_data_set_of_a_network(self, join):
        other, _ = parse_network_args("resnet18", join.format("on", "vehicles").split())
        assert isinstance(other.data, Vehicles)


def test_the_last_one_counts():
    assert isinstance(parsed("--strategy", "random", "--strategy=gdas").strategy, GDAS)


@pytest.mark.parametrize(
    "flag", ["--on", "--strategy", "--overrides", "--teacher", "--space", "--student", "--baseline"]
)
@pytest.mark.parametrize("behind", [[], ["--seed", "1"]])
def test_a_missing_value_is_named(flag, behind):
    with pytest.raises(
        ValueError, match=f"^{flag} needs a value, as {flag} VALUE; got {'--seed' if behind else 'none'}"
    ):
        parsed(flag, *behind)


class TestParts:
    def test_a_network_takes_the_place_of_the_space_and_is_retrained_as_searched(self):
        recipe = parsed("--space", "mobilenet_v2", "--space.backbone.width", "0.5")
        assert recipe.space == replace(STUDENTS["mobilenet_v2"], backbone=MobileNetV2(width=0.5))
        assert recipe.student is None and recipe.retrained == recipe.space

    def test_a_student_of_a_recipe_without_search_is_its_space(self):
        recipe = parsed("--student", "osnet", "--strategy", "None")
        assert recipe.space == recipe.retrained == STUDENTS["osnet"]
        assert parsed("--student=osnet").space == toy().space, "what is searched stays, and its check will say so"

    def test_a_baseline(self):
        assert parsed("--baseline", "resnet18", "--baseline.embedding-dim", "64").baseline.embedding_dim == 64

    def test_in_person_search_the_backbone_is_replaced(self):
        street = recipe_named("toy_street")[1]
        recipe, _ = parse_recipe_args(street, ["--space", "mobilenet_v2", "--baseline", "resnet18"], "nas", "")
        assert recipe.space == replace(street.space, backbone=MobileNetV2())
        assert recipe.baseline.task == "person_search" and recipe.baseline.backbone == STUDENTS["resnet18"].backbone
        hinted = recipe_named("street_kd_det")[1]
        recipe, _ = parse_recipe_args(hinted, ["--space", "mobilenet_v2"], "nas", "")
        assert recipe.space == replace(hinted.space, main=replace(hinted.space.main, backbone=MobileNetV2()))

    def test_a_teacher_by_file_run_and_name(self, tmp_path):
        (tmp_path / "student.safetensors").write_bytes(b"")
        file, run = (parsed("--teacher", str(tmp_path / name)).teacher for name in ("student.safetensors", ""))
        assert file == run == replace(toy().teacher, weights=tmp_path / "student.safetensors")
        (tmp_path / "teacher.safetensors").write_bytes(b"")
        assert parsed("--teacher", str(tmp_path)).teacher.weights == tmp_path / "teacher.safetensors"
        named = parsed("--teacher", "osnet", "--teacher.training.epochs", "3").teacher
        assert named.net == STUDENTS["osnet"] and named.training.epochs == 3 and named.weights is None

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ["--teacher", "resnet5"],
                "takes a file of weights, .* 'resnet5' is none of these .did you mean",
            ),
            (["--teacher=nowhere/teacher.safetensors"], "'nowhere/teacher.safetensors' is none of these"),
            (["--teacher", "{folder}"], "the folder has neither teacher.safetensors nor student.safetensors"),
            (["--space", "mobilenet"], "no network is named 'mobilenet' .did you mean 'mobilenet_v2'"),
            (["--space", "None"], "no network is named 'None'"),
            (["--student", "resnet"], "no network is named 'resnet' .did you mean"),
            (["--baseline=x"], "no network is named 'x'; there are kdas, mobilenet_v2"),
        ],
    )
    def test_what_is_nowhere_is_named(self, tmp_path, arguments, said):
        with pytest.raises(ValueError, match=said):
            parsed(*(word.format(folder=tmp_path) for word in arguments))


@pytest.mark.parametrize("arguments", [["--on", "vehicels"], ["--on=vehicels"]])
def test_near_misses(arguments):
    with pytest.raises(ValueError, match="did you mean 'vehicles'"):
        parsed(*arguments)


def test_the_others_stay_in_their_order():
    assert pop_options(("--a",), ["x", "--a=1", "--b", "--a", "2=3", "y=z"]) == ({"--a": "2=3"}, ["x", "--b", "y=z"])


def test_what_short_flags_stand_for():
    short = {"--rerank": ("--evaluation.rerank",), "--keep": ("--camera", "keep"), "--epochs": ("--retrain.epochs",)}
    assert spell_out(short, ["--rerank", "--epochs=3", "--epochs", "4", "--keep", "a=b", ""]) == [
        *("--evaluation.rerank", "--retrain.epochs=3", "--retrain.epochs", "4", "--camera", "keep", "a=b", "")
    ]


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("--rival.backbone.width", "--baseline.backbone.width"),
        ("--rival", "--baseline"),
        ("--tuned=x.json", "--overrides"),
        ("--search.settings", "--search.parameters"),
    ],
)
def test_a_flag_of_version_1_is_answered_with_its_name_of_today(word, now):
    with pytest.raises(ValueError, match=f"{word.partition('=')[0]} is {now} now"):
        parse_recipe_args(toy(), [word, "1"], "nas", "")


def test_a_loss_by_its_name():
    recipe, _ = parse_recipe_args(toy(), ["--loss", "kd", "--loss.alpha", "0.3"], "nas", "")
    assert recipe.loss == KDLoss(alpha=0.3)
    with pytest.raises(ValueError, match="no loss is named 'kdsa' .did you mean 'kdas'"):
        parse_recipe_args(toy(), ["--loss=kdsa"], "nas", "")


def test_what_exists_as_a_folder_is_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/11-30T02:00:00", "resnet18", "net.onnx", "a:b.npz"):
        assert is_other(name)
        (tmp_path / name).mkdir(parents=True)
        assert not is_other(name)
    for name in ("runs/11-30T02:00:00/net.onnx", "f.mat", "f.pt", "timm:x", "resnet50"):
        assert is_other(name)


@pytest.mark.parametrize("before", STRATEGIES)
def test_a_strategy_takes_over_the_budget_as_far_as_it_means_the_same(before):
    """In whatever order strategies replace each other."""
    old = STRATEGIES[before]
    budget = {"epochs": 3 * old.trains, "minutes": 7.0} | ({"trials": 5} if hasattr(old, "trials") else {})
    for name, new in STRATEGIES.items():
        alike = isinstance(old, DiscreteSearch) == isinstance(new, DiscreteSearch) and old.trains == new.trains
        taken = {
            field: value for field, value in budget.items() if hasattr(new, field) and (alike or field == "minutes")
        }
        assert strategy_named(name, replace(old, **budget)) == replace(new, **taken)


@pytest.mark.parametrize(
    ("before", "name", "said"),
    [
        (
            "darts",
            "random",
            "random searches for 100 trials of 10 epochs, its own budget, as 200 epochs of DARTS count",
        ),
        ("evolution", "nni:DARTS", "nni:DARTS searches for 200 epochs, its own budget, as 100 trials of 10 epochs of"),
        ("gdas", "nni:DARTS", ""),
    ],
)
def test_a_budget_of_its_own_is_told_of(before, name, said, capsys):
    parse_recipe_args(replace(toy(), strategy=STRATEGIES[before]), ["--strategy", name], "nas", "")
    told = capsys.readouterr().err
    assert said in told and bool(told) == bool(said)
    assert ("--strategy.trials" in told) == (name == "random")


@pytest.mark.parametrize("flags", [["--strategy.epochs", "4"], ["--strategy.minutes", "1"], ["--small"]])
def test_a_budget_that_is_given_is_not_told_of(flags, capsys):
    parse_recipe_args(toy(), ["--strategy", "random", *flags], "nas", "")
    assert capsys.readouterr().err == ""


def test_a_strategy_where_the_recipe_has_none_says_its_budget(capsys):
    recipe, _ = parse_recipe_args(replace(toy(), strategy=None), ["--strategy", "gdas"], "nas", "")
    assert recipe.strategy == GDAS() and "gdas searches for 200 epochs, its own budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named", "others"),
    [
        ("--overwrite", "", "--overwrite"),
        ("--overwrite --seed 1", "", "--overwrite --seed 1"),
        ("--seed 1 --overwrite search,retrain", "search retrain", "--seed 1 --overwrite"),
        ("--overwrite=retrain --json", "retrain", "--overwrite --json"),
        ("--overwrite search retrain --json", "search retrain", "--overwrite --json"),
        ("--overwrite search --json --overwrite retrain", "search retrain", "--overwrite --json --overwrite"),
        ("--overwrite search --overwrite search", "search", "--overwrite --overwrite"),
    ],
)
def test_stages_behind_overwrite(arguments, named, others):
    assert pop_restarted(arguments.split()) == (tuple(named.split()), others.split())


def test_overwrite_stands_alone_or_with_stages():
    with pytest.raises(ValueError, match="--overwrite stands alone.* or with retrain behind it"):
        pop_restarted(["--overwrite", "--overwrite", "retrain"])


@pytest.mark.parametrize(
    ("word", "named", "said"),
    [
        (
            "run",
            "serch",
            "teach, search, .*taught-baseline, not 'serch' .did you mean 'search'",
        ),
        (
            "retrain",
            "search",
            "takes the stages of `nas retrain`, retrain, .*taught-baseline, not 'search'",
        ),
        ("draw", "search", "--overwrite stands alone here, not 'search'"),
    ],
)
def test_a_stage_that_the_command_does_not_do_is_named(word, named, said):
    with pytest.raises(ValueError, match=said):
        check_restarted(word, [named])
