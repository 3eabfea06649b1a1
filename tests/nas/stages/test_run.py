"""The whole path through the real command, and what its stages refuse."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from nas.models.network import Network
from nas.report.metrics import outdated
from search_spaces.architecture import Architecture
from search_spaces.cell import AUTO_REID, genotype
from tests.nas.cli.program import nas

SMALL = [
    "--teacher.net.backbone.width",
    "0.0625",
    "--baseline.backbone.width",
    "0.1",
    "--teacher.training.epochs",
    "1",
    "--machine.device",
    "cpu",
    "--evaluation.num-strips",
    "2",
    "--json",
]

OWN = '''
import json
from dataclasses import dataclass, replace
from nas.recipe import Recipe
from nas.strategies.darts import DARTS
from runs.recipes.demo import toy

def published() -> Recipe:
    """The toy's published cell, retrained without search or teacher."""
    recipe = toy()
    retrain = replace(recipe.retrain, epochs=1, validate_every=0)
    return replace(recipe, strategy=None, teacher=None, baseline=None, retrain=retrain)

def taught() -> Recipe:
    """The toy without its baseline, one epoch of everything."""
    recipe = toy()
    return replace(recipe, baseline=None, strategy=replace(recipe.strategy, epochs=1), retrain=published().retrain)

@dataclass(frozen=True, kw_only=True)
class Told(DARTS):
    """Each process writes down what it found."""
    def search(self, space, objective, stage):
        found = super().search(space, objective, stage)
        told = [found.best.hash, found.history[-1]["alphas"], objective.num_steps, stage.fabric.world_size]
        (stage.folder / f"rank{stage.fabric.global_rank}.json").write_text(json.dumps(told))
        return found

def told() -> Recipe:
    """The same, found by several processes."""
    return replace(taught(), strategy=Told(epochs=1))
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A whole run."""
    folder = tmp_path_factory.mktemp("toy")
    assert nas("run", "toy", "--out", folder, *SMALL) == 0
    return folder


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "recipes_of_the_pipeline_test.py"
    path.write_text(OWN)
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestToy:
    def test_every_artefact_is_there(self, toy):
        names = {path.name for path in toy.iterdir()}
        assert names >= {
            "config.json",
            "environment.json",
            "architecture.json",
            "architectures.json",
            "metrics.json",
            "report.html",
            "teacher.safetensors",
            "student.safetensors",
            "baseline.safetensors",
            *(
                f"{stage}.{kind}"
                for stage in ("teach", "search", "retrain", "baseline")
                for kind in ("ckpt", "history.jsonl")
            ),
        }
        assert not [name for name in names if name.endswith(".tmp")]
        for path in [*toy.glob("*.png"), *(toy / "strips").iterdir()]:
            with Image.open(path) as image:
                assert min(image.size) > 10
        assert len(list((toy / "strips").iterdir())) == 2 and len(list(toy.glob("backbone.*.svg"))) == 2
        assert {path.name for path in (toy / "tensorboard").iterdir()} == {"teach", "search", "retrain", "baseline"}

    def test_history_tells_of_each_epoch(self, toy):
        search, retrain = (lines(toy / f"{stage}.history.jsonl") for stage in ("search", "retrain"))
        assert [line["epoch"] for line in search] == [line["epoch"] for line in retrain] == [0, 1]
        assert set(search[0]["weight"]) == set(search[0]["alpha"]) == {"total", "distill", "triplet"}
        assert search[0]["temperature"] == 2.0 and 0 <= retrain[1]["mAP"] <= 1
        assert set(lines(toy / "baseline.history.jsonl")[0]["loss"]) == {"total", "identity", "triplet"}

    def test_metrics_are_of_teacher_rival_and_student(self, toy):
        metrics = json.loads((toy / "metrics.json").read_text())
        assert set(metrics["measured"]) == {"teacher.safetensors", "student.safetensors", "baseline.safetensors"}
        assert outdated(toy, metrics) == ""
        assert [row["name"].partition(" (")[0] for row in metrics["rows"]] == ["teacher", "baseline", "student"]
        student = metrics["rows"][2]
        camera = Network.load(toy / "student.safetensors").net
        assert student["parameters"] == sum(p.numel() for p in camera.parameters()) - camera.classifier.weight.numel()
        assert all(0 <= row["mAP"] <= 1 and row["multiply_adds"] > 0 for row in metrics["rows"])

    def test_the_report_says_what_differs_from_the_recipe_and_what_candidates_cost(self, toy):
        page = (toy / "report.html").read_text()
        assert re.search(r"<code>teacher\.training\.epochs: \d+, now 1</code>", page)
        assert re.search(r"<code>evaluation\.num_strips: 10, now 2</code>", page)
        search = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])["search"]
        if "gzip" in search:
            search = json.loads(gzip.decompress(base64.b64decode(search["gzip"])))
        for edge in search["groups"][0]["edges"]:
            macs = dict(zip(edge["options"], edge["macs"], strict=True))
            assert macs["sep3"] > 0 == macs["none"]

    def test_environment_says_where_and_how_long(self, toy):
        environment = json.loads((toy / "environment.json").read_text())
        assert set(environment["minutes"]) == {"teach", "search", "retrain", "baseline"}
        assert environment["torch"] == torch.__version__ and environment["command"].startswith("nas")

    def test_the_best_of_the_ranked_is_the_found(self, toy):
        found = json.loads((toy / "architecture.json").read_text())
        ranked = json.loads((toy / "architectures.json").read_text())["ranked"]
        assert ranked[0]["architecture"] == found and len(ranked) == 20
        assert Network.load(toy / "student.safetensors").architecture == Architecture.from_dict(found)
        assert lines(toy / "search.history.jsonl")[-1]["predicted"] == found["hash"]

    @pytest.mark.medium
    def test_same_recipe_and_seed_same_architecture_and_weights(self, toy, tmp_path):
        assert nas("teach", "toy", "--out", tmp_path, *SMALL) == 0
        assert nas("search", "toy", "--out", tmp_path, *SMALL) == 0
        assert nas("retrain", tmp_path, "--json") == 0
        assert (tmp_path / "architectures.json").read_bytes() == (toy / "architectures.json").read_bytes()
        for name in ("teacher", "student", "baseline"):
            one, two = (load_file(folder / f"{name}.safetensors") for folder in (toy, tmp_path))
            assert all(torch.equal(one[key], two[key]) for key in one | two)

    @pytest.mark.medium
    def test_a_fresh_process_finds_the_same_features(self, toy, tmp_path):
        torch.save(torch.randn(3, 3, 32, 16), tmp_path / "x.pt")
        script = (
            "import sys, torch; from pathlib import Path; from nas.models.network import Network;"
            "torch.set_num_threads(1);"
            "net = Network.load(Path(sys.argv[1])).net; x = torch.load(sys.argv[2]);"
            "torch.save(net(x).feature.detach(), sys.argv[3])"
        )
        subprocess.run(
            [sys.executable, "-c", script, toy / "student.safetensors", tmp_path / "x.pt", tmp_path / "y.pt"],
            check=True,
        )
        net = Network.load(toy / "student.safetensors").net
        assert torch.equal(torch.load(tmp_path / "y.pt"), net(torch.load(tmp_path / "x.pt")).feature)


class TestArchitecture:
    @pytest.mark.medium
    def test_without_a_strategy_the_published_cell_is_retrained(self, recipes, tmp_path):
        assert nas("retrain", copied(recipes, "published", tmp_path), "--machine.device", "cpu", "--json") == 0
        network = Network.load(tmp_path / "student.safetensors")
        assert network.architecture is None
        published = genotype(AUTO_REID, prefix="backbone.", space="ReID")
        assert network.space.published() == published
        kinds = [
            type(op.body).__name__ for cell in network.net.backbone.cells for node in cell.nodes for op in node.ops
        ]
        assert "MaxPool2d" in kinds and "PartAware" in kinds

    def test_one_written_by_hand_is_built(self, recipes, tmp_path):
        decisions = {
            f"backbone.{kind}.{node}": ["skip@0", "max3@1"] for kind in ("normal", "reduce") for node in range(2, 6)
        }
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"decisions": decisions}))
        folder = copied(recipes, "published", tmp_path / "run")
        assert nas("retrain", folder, "--architecture", path, "--machine.device", "cpu", "--json") == 0
        cells = Network.load(folder / "student.safetensors").net.backbone.cells
        kinds = {type(op.body).__name__ for cell in cells for node in cell.nodes for op in node.ops}
        assert kinds == {"Identity", "Halved", "MaxPool2d"}

    @pytest.mark.parametrize(
        "decisions, message",
        [
            ({"block1.stride": 2}, "does not decide 'backbone."),
            (None, "nothing.json does not exist"),
            (
                {
                    f"backbone.{kind}.{node}": ["conv9@0", "max3@1"]
                    for kind in ("normal", "reduce")
                    for node in range(2, 6)
                },
                "must name 2 different inputs with an operation of",
            ),
        ],
    )
    def test_one_of_another_space_is_refused(self, recipes, tmp_path, capfd, decisions, message):
        path = tmp_path / ("nothing.json" if decisions is None else "theirs.json")
        if decisions is not None:
            path.write_text(json.dumps({"space": "Theirs", "decisions": decisions}))
        folder = copied(recipes, "published", tmp_path / "run")
        assert nas("retrain", folder, "--architecture", path, "--machine.device", "cpu") == 2
        assert message in capfd.readouterr().err
        assert not (folder / "student.safetensors").exists()

    def test_one_that_does_not_fit_is_refused_before_a_teacher_is_trained(self, tmp_path, capfd):
        path = tmp_path / "theirs.json"
        path.write_text(json.dumps({"decisions": {"block1.stride": 2}}))
        assert nas("run", "toy", "--architecture", path, "--out", tmp_path / "run") == 2
        assert "does not decide 'backbone." in capfd.readouterr().err and not (tmp_path / "run").exists()

    def test_a_student_of_another_space_is_refused_with_the_flags_that_fit(self, tmp_path, capfd):
        assert nas("run", "toy", "--student", "osnet", "--out", tmp_path / "run") == 2
        said = capfd.readouterr().err
        assert "the student (OSNet x1) is not of the space that is searched (2 kdas cells" in said
        assert "--space NAME changes both" in said and not (tmp_path / "run").exists()


def copied(recipes: Path, name: str, folder: Path) -> Path:
    """A run's folder that holds a recipe and nothing else."""
    from nas.cli.find_recipe import recipe_named
    from nas.run import Run

    _, recipe = recipe_named(f"{recipes}:{name}")
    Run(folder, name, recipe).begin("search")
    return folder


class TestTeacher:
    def renamed(self, toy: Path, folder: Path, change) -> Path:
        """The toy's teacher with other identities in its header."""
        from safetensors import safe_open

        path = folder / "teacher.safetensors"
        with safe_open(toy / "teacher.safetensors", "pt") as file:
            header = json.loads(file.metadata()["nas"])
        tensors = load_file(toy / "teacher.safetensors")
        change(header, tensors)
        save_file(tensors, path, {"nas": json.dumps(header)})
        return path

    @pytest.mark.medium
    def test_one_of_an_earlier_run_is_listened_to(self, toy, recipes, tmp_path):
        assert (
            nas(
                "search",
                f"{recipes}:taught",
                "--teacher.weights",
                toy / "teacher.safetensors",
                "--out",
                tmp_path,
                "--machine.device",
                "cpu",
                "--json",
            )
            == 0
        )
        assert "distill" in lines(tmp_path / "search.history.jsonl")[0]["weight"]

    @pytest.mark.medium
    @pytest.mark.parametrize("kind", ["order", "number"])
    def test_other_identities_are_refused_with_both_named(self, toy, recipes, tmp_path, capfd, kind):
        def swap(header, tensors):
            header["identities"][1:3] = header["identities"][2:0:-1]

        def drop(header, tensors):
            header["identities"].pop()
            header["space"]["num_ids"] -= 1
            tensors["classifier.weight"] = tensors["classifier.weight"][:-1].clone()

        path = self.renamed(toy, tmp_path, {"order": swap, "number": drop}[kind])
        assert (
            nas(
                "search",
                f"{recipes}:taught",
                "--teacher.weights",
                path,
                "--out",
                tmp_path / "run",
                "--machine.device",
                "cpu",
            )
            == 2
        )
        said = capfd.readouterr().err
        assert {
            "order": "identity number 1 is 2, that of Pedestrians is 1",
            "number": "teacher.safetensors knows 5 identities, Pedestrians has 6",
        }[kind] in said
        assert not (tmp_path / "run" / "architecture.json").exists()

    def test_nothing_to_teach_without_a_teacher(self, recipes, tmp_path, capfd):
        assert nas("teach", f"{recipes}:published", "--out", tmp_path) == 2
        assert "has no teacher" in capfd.readouterr().err


@pytest.mark.slow
def test_two_processes_agree(recipes, tmp_path):
    """Each draws its own batches, and all come to the same alphas to the bit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "nas",
        "run",
        f"{recipes}:told",
        "--out",
        tmp_path / "run",
        "--teacher.net.backbone.width",
        "0.0625",
        "--machine.devices",
        "2",
        "--machine.device",
        "cpu",
        "--json",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")
    one, two = (json.loads((tmp_path / "run" / f"rank{rank}.json").read_text()) for rank in range(2))
    assert one == two and one[2:] == [1, 2]
