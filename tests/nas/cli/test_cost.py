"""`nas cost` as a user types it: the published counts, whatever names a student, and what it says of mistakes."""

import json

import pytest
import torch

from nas.cli.cost import costs, size_of, subject_named
from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.run import Run
from nas.system.files import write_json
from search_spaces.architecture import Architecture
from students.named import STUDENTS
from students.reid import ReID


@pytest.fixture
def counted(capsys):
    """What `nas cost ARGUMENTS --json` says."""

    def run(*arguments):
        assert main(["cost", *map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refused(capsys):
    """The line that `nas cost ARGUMENTS` ends with."""

    def run(*arguments):
        assert main(["cost", *map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return run


def searched(name, seed=0):
    """An architecture of a student, with its prefix and without."""
    torch.manual_seed(seed)
    space = STUDENTS[name].backbone
    decisions = dict(space.published().decisions)
    decisions[next(iter(decisions))] = {"mobilenet_v2": "k7e6", "resnet18": "basic5"}[name]
    return (
        Architecture(type(space).__name__, decisions),
        Architecture("ReID", {f"backbone.{question}": answer for question, answer in decisions.items()}),
    )


@pytest.mark.medium
@pytest.mark.parametrize(
    ("arguments", "part", "millions", "mega"),
    [
        ("shufflenet_v2 --size 256x128", "backbone", 1.254, 94.0),
        ("mobilenet_v2 --size 256x128", "backbone", 2.224, 195.6),
        ("osnet --size 256x128", "feature_net", 2.170, 978.9),
        ("shallow_cnn --size 128x128 --num-ids 576", "with_classifier", 1.006, 409.7),
    ],
)
def test_published_costs(counted, arguments, part, millions, mega):
    found = counted(*arguments.split())[part]
    assert (round(found["parameters"] / 1e6, 3), round(found["multiply_adds"] / 1e6, 1)) == (millions, mega)


@pytest.mark.medium
@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_can_be_counted_part_by_part(name):
    counted = costs(subject_named(name), 64, 32, num_ids=10)
    backbone, feature, whole = (counted[part] for part in ("backbone", "feature net", "with classifier"))
    c, d = STUDENTS[name].backbone, STUDENTS[name].embedding_dim
    with torch.device("meta"):
        c = c.student().out_channels
    assert feature.parameters - backbone.parameters == (c + 1) * d + 2 * d
    assert feature.multiply_adds - backbone.multiply_adds == c * d
    assert whole.parameters - feature.parameters == whole.multiply_adds - feature.multiply_adds == 10 * d
    for shares in (feature.multiply_adds_by_type, feature.parameters_by_type):
        assert sum(shares.values()) == pytest.approx(1)


def test_the_tables_for_people(capsys):
    assert main(["cost", "shufflenet_v2", "--num-ids", "751"]) == 0
    said = capsys.readouterr().out
    assert "ShuffleNetV2 x1, as published, images 256x128" in said
    cells = " ".join(said.replace("│", "").split())
    assert "backbone 1,253,604 93,965,056" in cells and "with classifier 2,163,940" in cells
    assert "depthwise conv 3x3" in cells and "BatchNorm2d 0.0" in cells


@pytest.mark.medium
@pytest.mark.parametrize("name", ["toy", "ksl_mobilenet"])
def test_a_recipes_student_without_what_its_training_adds(counted, name):
    recipe = recipe_named(name)[1]
    found = counted(name)
    assert (found["height"], found["width"]) == (recipe.images.height, recipe.images.width)
    space, _ = recipe.retrained.inference()
    assert isinstance(space, ReID)
    with torch.device("meta"):
        backbone = space.backbone.student()
    assert found["backbone"]["parameters"] == sum(p.numel() for p in backbone.parameters())
    assert counted(name, "--size", "100x50")["height"] == 100


def test_a_run_is_counted_with_what_its_search_found(counted, refused, tmp_path):
    name, recipe = recipe_named("toy")
    Run(tmp_path / "run", name, recipe).note_recipe()
    assert "has no architecture.json yet" in refused(tmp_path / "run")
    space = recipe.retrained.with_ids(2)
    decisions = {**space.published().decisions, "backbone.normal.2": ("max3@0", "max3@1")}
    write_json(tmp_path / "run" / "architecture.json", Architecture("ReID", decisions).to_dict())
    found = counted(tmp_path / "run")
    net = space.student(Architecture("ReID", decisions))
    assert found["backbone"]["parameters"] == sum(p.numel() for p in net.backbone.parameters())
    assert found["architecture"] == Architecture("ReID", decisions).hash


@pytest.mark.medium
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_an_architecture_file_says_whose_it_is(counted, tmp_path, name, whole):
    architecture = searched(name)[whole]
    write_json(tmp_path / "found.json", architecture.to_dict())
    found = counted(tmp_path / "found.json")
    net = STUDENTS[name].backbone.student(searched(name)[0])
    assert found["backbone"]["parameters"] == sum(p.numel() for p in net.parameters())
    assert counted(tmp_path / "found.json", "--student", name) == found


@pytest.mark.medium
def test_the_branches_of_ksl_are_not_deployed(counted, tmp_path):
    main = searched("mobilenet_v2")[1]
    write_json(tmp_path / "main.json", main.to_dict())
    write_json(tmp_path / "ksl.json", Architecture("KSL", {**main.decisions, "branch.stage4": True}).to_dict())
    assert counted(tmp_path / "ksl.json") == counted(tmp_path / "main.json")


def test_mistakes_are_named(refused, tmp_path):
    assert "no student, run, recipe or architecture file 'osnte' (did you mean 'osnet'" in refused("osnte")
    assert f"{tmp_path} is not a run" in refused(tmp_path)
    assert "no.json does not exist" in refused(tmp_path / "no.json")
    assert "leave it out" in refused("osnet", "--student", "osnet")
    assert "--num-ids must be at least 0, not -1" in refused("osnet", "--num-ids", "-1")
    write_json(tmp_path / "found.json", searched("mobilenet_v2")[0].to_dict())
    file = tmp_path / "found.json"
    assert "no student 'mobilenet' (did you mean 'mobilenet_v2'" in refused(file, "--student", "mobilenet")
    assert "does not decide 'backbone.conv2.0.streams'" in refused(file, "--student", "osnet")
    write_json(tmp_path / "other.json", Architecture("Other", {"thing": "a"}).to_dict())
    assert "of no student known here: say whose it is with --student NAME" in refused(tmp_path / "other.json")


@pytest.mark.parametrize("text", ["256", "256x", "x128", "256x128x3", "8x128", "256 x 128", "-256x128", "99999x16"])
def test_impossible_sizes_are_refused(refused, text):
    assert f"--size must be HEIGHTxWIDTH, at least 16x16 and below 10000, as 256x128; got {text!r}" in refused(
        "osnet", f"--size={text}"
    )


def test_a_size_is_height_by_width():
    assert size_of("256x128") == (256, 128)


def test_without_a_subject_the_usage(capsys):
    assert main(["cost"]) == 2
    assert main(["cost", "--help"]) == 0
    assert capsys.readouterr().out.count("usage: nas cost STUDENT") == 2


@pytest.mark.medium
def test_thop_stands_beside_torchs_count(capsys):
    """Torchvision's ResNet-50 at 224x224: thop says 4.13 G, which is 1 % more than its products."""
    assert main(["cost", "resnet50", "--size", "224x224", "--thop"]) == 0
    said = capsys.readouterr().out
    assert "feature net by thop" in said and "thop's count differs by +1." in said
    adds = {words[0]: words[-1] for words in (line.split("│")[1:-1] for line in said.splitlines()) if len(words) == 4}
    adds = {name.strip(): number.strip() for name, number in adds.items()}
    assert adds["conv 3x3"] == adds["fully connected"] == "+0" and adds["BatchNorm2d"].startswith("+")
    assert main(["cost", "mobilenet_v2", "--thop", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    ratio = counted["feature_net_by_thop"]["multiply_adds"] / counted["feature_net"]["multiply_adds"]
    assert ratio == pytest.approx(1.09, abs=0.02)
    assert counted["feature_net_by_thop"]["parameters"] == counted["feature_net"]["parameters"]
