"""The toolkit's recipes are sound, and a user's own are found."""

import inspect
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
import torch

import runs.recipes
from nas.cli.find_recipe import _recipes_of, recipe_named, recipes
from nas.cli.main import main
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.losses.hints import HintLoss
from nas.losses.kd import KDLoss
from nas.losses.ksl import KSLLoss
from nas.recipe import Recipe
from nas.tasks.base import image_size
from nas.training.settings import Training
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from students.hinted import Hint, Hinted
from students.ksl import KSL
from students.reid import ReID
from teachers.temperature import Constant

RECIPES = {name: recipe_named(name)[1] for name in recipes()}
NETWORKS = {
    (space, image_size(recipe.task, recipe))
    for recipe in RECIPES.values()
    for space in (recipe.retrained, recipe.baseline, recipe.teacher and recipe.teacher.net)
    if space
}
SEARCHES = {(recipe.space, recipe.retrained) for recipe in RECIPES.values() if recipe.strategy}


def title(value) -> str:
    return getattr(value, "title", "")


@pytest.mark.parametrize(("space", "images"), sorted(NETWORKS, key=str), ids=title)
def test_networks_of_all_recipes_take_their_images(space, images):
    with torch.device("meta"):
        out = space.with_ids(7).student().eval()(torch.zeros(2, 3, *images))
    assert out.logits.shape == (2, 7) if hasattr(out, "logits") else len(out.objectness) == 2


@pytest.mark.parametrize(("space", "retrained"), sorted(SEARCHES, key=str), ids=title)
def test_what_a_recipe_finds_can_be_retrained(space, retrained):
    with torch.device("meta"):
        supernet = Supernet.of(space.with_ids(7))
    assert len(supernet.alpha) > 1
    retrained.with_ids(7).check(space.with_ids(7).sample(np.random.default_rng(0)))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name):
    assert len(recipes()[name].line) > 30


def test_the_recipes_that_the_source_names_are_those_that_its_modules_have():
    modules = [import_module(module.name) for module in iter_modules(runs.recipes.__path__, "runs.recipes.")]
    found = {
        name: (module.__name__, inspect.getdoc(function).splitlines()[0])
        for module in modules
        for name, function in _recipes_of(module, Recipe).items()
    }
    assert {name: tuple(listed) for name, listed in recipes().items()} == found and len(found) > 20


@pytest.mark.medium
def test_one_recipe_imports_one_module():
    script = "import sys; from nas.cli.find_recipe import recipe_named; recipe_named('kdas'); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "runs.recipes.kdas" in said.split() and "runs.recipes.fast_reid" not in said.split()


def test_papers_recipes_are_the_papers():
    """Section 4 of KDAS-ReID."""
    recipe = recipe_named("kdas")[1]
    temperature = recipe.loss.temperature
    assert (temperature.at(0, 200), temperature.at(190, 200), temperature.at(199, 200)) == (2.0, 0.0, 0.0)
    assert (recipe.images.height, recipe.images.width) == (384, 128)
    assert (recipe.space.backbone.channels, recipe.student.backbone.channels) == (32, 64)
    assert recipe.space.backbone.cells == 8 and recipe.space.backbone.reductions == (3, 5, 7)
    assert recipe.strategy.weights.lr == 0.1 and recipe.strategy.weights.rate.factor(200, 200) == pytest.approx(0.01)
    assert (recipe.strategy.alphas.lr, recipe.strategy.alphas.weight_decay) == (0.02, 5e-4)
    assert recipe.strategy.epochs == recipe.retrain.epochs == 200
    assert (recipe.search.sampling.num_ids, recipe.search.sampling.images_per_id) == (8, 2)
    assert (recipe.retrain.sampling.num_ids, recipe.retrain.sampling.images_per_id) == (8, 4)
    assert (recipe.retrain.optimiser.lr, recipe.retrain.optimiser.weight_decay) == (3.5e-4, 5e-4)
    assert recipe.loss.margin == 0.3
    assert recipe_named("kdas_to_one")[1].loss.temperature.at(199, 200) == 1.0
    assert recipe_named("kdas_baseline")[1].teacher is None
    assert recipe_named("auto_reid")[1].strategy is None


def test_fast_reids_recipes_are_the_papers():
    """Section 4.2 and Table 3 of fast re-ID."""
    recipe = recipe_named("fast_reid")[1]
    assert (recipe.loss.alpha, recipe.loss.temperature) == (0.1, Constant(value=5.0)) and recipe.retrain.epochs == 60
    assert recipe.strategy is None and recipe_named("fast_reid_alone")[1] == replace(recipe, teacher=None)
    strong = recipe_named("fast_reid_strong")[1]
    assert strong.retrain.augment.erase == 0.5 and recipe.retrain.augment.erase == 0.0


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_small_variant_that_loads(name):
    recipe = RECIPES[name].small()
    data = recipe.load()
    assert len(data.identities) == 8 and len(data.train) == (24 if recipe.data.task == "person_search" else 48)
    assert recipe.retrained == RECIPES[name].retrained.small() and recipe.retrain.epochs == 2
    assert recipe.small() == recipe


def test_a_small_variants_triplet_losses_join_whatever_is_around_them():
    late = KSLLoss(triplet_from=150)
    recipe = replace(RECIPES["ksl_mobilenet_search"], loss=HintLoss(each=late, hints=("layer3",)))
    tried = replace(recipe, search=replace(recipe.search, alpha_loss=late)).small()
    assert tried.loss == HintLoss(each=KSLLoss(triplet_from=1), hints=("layer3",))
    assert tried.search.alpha_loss == KSLLoss(triplet_from=1)


OWN = '''
import inspect
import subprocess
import sys
from dataclasses import replace
from nas.recipe import Recipe
from runs.recipes.demo import toy

def mine() -> Recipe:
    """Mine."""
    return replace(toy(), seed=7)

def text() -> "Recipe":
    return toy()

def wrong() -> Recipe:
    return 3

def _hidden() -> Recipe:
    return toy()

def takes(something) -> Recipe:
    return toy()

def untold():
    return toy()
'''


class TestOwnRecipe:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "own_recipe_of_a_test.py"
        path.write_text(OWN)
        return path

    def test_is_found_in_its_file(self, path):
        name, recipe = recipe_named(f"{path}:mine")
        assert name == "mine" and recipe.seed == 7 and isinstance(recipe, Recipe)
        assert recipe_named(f"{path}:text")[0] == "text"

    @pytest.mark.parametrize("function", ["_hidden", "takes", "untold", "toy", ""])
    def test_only_functions_that_say_they_return_a_recipe_count(self, path, function):
        with pytest.raises(ValueError, match=r"has no recipe .*found: mine, text, wrong"):
            recipe_named(f"{path}:{function}")

    def test_near_misses_and_missing_files(self, path):
        with pytest.raises(ValueError, match="no recipe 'mime' .did you mean 'mine'"):
            recipe_named(f"{path}:mime")
        with pytest.raises(ValueError, match=r"the file .*nowhere\.py does not exist"):
            recipe_named(f"{path.parent / 'nowhere.py'}:mine")
        (path.parent / "text.pyx").write_text("")
        with pytest.raises(ValueError, match=r"a file of recipes or classes must end in \.py, not be .*text\.pyx"):
            recipe_named(f"{path.parent / 'text.pyx'}:mine")
        with pytest.raises(ValueError, match="'.*:wrong' must return a nas.recipe.Recipe, not int"):
            recipe_named(f"{path}:wrong")

    def test_any_name_of_a_folder_will_do(self, path):
        odd = path.rename(path.parent / "it's 50 %: a.py, or\nb: it's.py")
        assert recipe_named(f"{odd}:mine")[0] == "mine"

    @pytest.mark.parametrize("content", [b"x = 1\0", b"a folder"])
    def test_what_cannot_be_read_is_one_line(self, tmp_path, content):
        path = tmp_path / "own.py"
        path.mkdir() if content == b"a folder" else path.write_bytes(content)
        with pytest.raises(ValueError, match=r"the file .*own\.py (is no file|cannot be read: .*null bytes)"):
            recipe_named(f"{path}:mine")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("raise KeyError(3)", "nas: own.py, line 1: KeyError: 3"),
            ("import sys; sys.exit(0)", "nas: own.py, line 1: it ends the program"),
            ("def mine(", "nas: own.py, line 1: SyntaxError: '(' was never closed"),
            (
                "from nas.data.images import Images; Images(height=8)",
                "nas: own.py, line 1: Images.height must be",
            ),
        ],
    )
    def test_one_that_raises_is_named_by_the_program(self, tmp_path, monkeypatch, capsys, body, said):
        monkeypatch.chdir(tmp_path)
        Path("own.py").write_text(f"{body}\n")
        assert main(["cost", "own.py:mine"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith(said) and not any("nas/cli" in line for line in lines)

    def test_unknown_name_of_the_toolkit(self):
        with pytest.raises(ValueError, match=r"there is no recipe 'kdsa' .did you mean .*'kdas'"):
            recipe_named("kdsa")

    def test_a_file_named_like_a_module_does_not_replace_it(self, tmp_path):
        (tmp_path / "json.py").write_text(OWN)
        recipe_named(f"{tmp_path / 'json.py'}:mine")
        import json

        assert json.loads("1") == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Training(epochs=0), "epochs must be at least 1"),
        (lambda: Images(height=8), "Images.height must be at least 16, not 8"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_branches_need_a_loss_that_trains_them_whatever_is_around_both():
    branched = KSL(main=ReID(backbone=ResNet(depth=18)), branches=("layer4",))
    hinted = Hinted(main=branched, hints=(Hint(student="layer3", teacher="layer3", channels=8),))
    complete = KSLLoss(each=KDLoss(), triplet_from=0)
    for space in (branched, hinted):
        complete.check(space, 2)
        HintLoss(each=complete, hints=("layer3",)).check(space, 2)
        for loss in (KDLoss(), HintLoss(hints=("layer3",))):
            with pytest.raises(ValueError, match=r"need a loss that trains them: --loss ksl, .* not KDLoss alone"):
                loss.check(space, 2)


def test_stages_that_do_not_run_ask_nothing_of_the_data():
    recipe = RECIPES["kdas"].small()
    many = replace(recipe.teacher.training, sampling=ClassBalanced(num_ids=9, images_per_id=2))
    taught = replace(recipe, teacher=replace(recipe.teacher, training=many))
    with pytest.raises(ValueError, match="a batch has 9 identities"):
        taught.load()
    replace(taught, teacher=replace(taught.teacher, weights=Path("teacher.safetensors"))).load()
    searched = replace(recipe, search=replace(recipe.search, sampling=ClassBalanced(num_ids=9, images_per_id=2)))
    with pytest.raises(ValueError, match="a batch has 9 identities"):
        searched.load()
    replace(searched, strategy=None).load()


def test_a_loss_of_the_alphas_that_is_never_complete_is_named_before_work():
    recipe = RECIPES["kdas"].small()
    with pytest.raises(ValueError, match="the triplet losses join at epoch 150"):
        replace(recipe, search=replace(recipe.search, alpha_loss=KSLLoss())).load()


def test_weights_that_do_not_exist_are_named_before_work():
    recipe = RECIPES["kdas"].small()
    absent = replace(recipe.retrain, pretrained="nowhere.pth")
    for wrong in (replace(recipe, retrain=absent), replace(recipe, teacher=replace(recipe.teacher, training=absent))):
        with pytest.raises(ValueError, match=r"the file of pretrained weights nowhere.pth does not exist"):
            wrong.load()
