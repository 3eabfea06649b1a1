"""Teachers of several networks: how they answer, what they cost, and how they come from files."""

import json
from dataclasses import replace

import pytest
import torch

from nas.cli.main import main
from nas.data.batches import Batch
from nas.losses.vrkd import BranchesLoss, VRKDLoss
from nas.models.network import Network
from nas.recipe import TeacherRecipe
from search_spaces.architecture import Architecture
from search_spaces.cost.counting import cost
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from students.ksl import KSL
from students.reid import ReID
from teachers.directional import Directional

TINY = Directional(backbone=ResNet(width=1 / 16, last_stride=1), num_ids=5, embedding_dim=8)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TINY.student()


@pytest.fixture
def images():
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class TestDirectional:
    def test_its_cost_is_the_papers(self):
        """Table 1, four SDC-CNNs: 44.41 M parameters and 36.81 G multiply-adds; the SDC-CNN is a reconstruction."""
        with torch.device("meta"):
            four = cost(Directional(backbone=SDCCNN()).with_ids(576).student(), 128, 128)
        assert four.parameters / 1e6 == pytest.approx(44.41, abs=0.02)
        assert four.multiply_adds / 1e9 == pytest.approx(36.81, rel=0.005)

    def test_it_answers_with_the_mean_logits_of_networks_that_share_nothing(self, net, images):
        out = net.eval()(images)
        alone = [member(images) for member in net.members.values()]
        assert list(net.members) == ["horizontal", "vertical", "diagonal", "anti-diagonal"]
        assert torch.allclose(out.logits, sum(one.logits for one in alone) / 4, atol=1e-6)
        assert torch.equal(out.embedding, torch.cat([one.embedding for one in alone], dim=1))
        assert torch.equal(out.maps["vertical.layer3"], alone[1].maps["layer3"])
        pointers = [p.data_ptr() for p in net.parameters()]
        assert len(set(pointers)) == len(pointers)

    def test_the_cosine_of_its_features_is_the_mean_of_its_members(self, net, images):
        out = net.eval()(images)
        cosine = torch.nn.functional.cosine_similarity
        alone = [cosine(one.feature[0], one.feature[1], dim=0) for one in out.branches]
        assert cosine(out.feature[0], out.feature[1], dim=0).item() == pytest.approx((sum(alone) / 4).item(), abs=1e-6)

    def test_each_network_is_trained_as_if_it_were_alone(self, net, images):
        batch = Batch(images, torch.tensor([0, 0, 1, 1, 2, 2]))
        loss = VRKDLoss(label_smoothing=0.1, triplet_weight=1.0)
        side_by_side = BranchesLoss(each=loss)(net(images), batch, 2.0)
        total = 0.0
        for member in net.members.values():
            own = loss(member(images), batch, 2.0)
            gradient = torch.autograd.grad(own["total"], member.classifier.weight)[0]
            shared = torch.autograd.grad(side_by_side["total"], member.classifier.weight, retain_graph=True)[0]
            assert torch.allclose(gradient, shared, atol=1e-6)
            total += own["total"].item()
        assert side_by_side["total"].item() == pytest.approx(total, rel=1e-6)
        assert set(side_by_side) == {"total", "identity", "triplet"}

    def test_pretrained_weights_go_into_all_backbones(self, net):
        net.repeat_weights()
        backbones = [member.backbone.backbone.state_dict() for member in net.members.values()]
        assert backbones[0].keys() == net.backbone.state_dict().keys()
        assert all(torch.equal(other[name], tensor) for other in backbones[1:] for name, tensor in backbones[0].items())

    def test_identities_of_another_number_are_refused(self):
        with pytest.raises(ValueError, match="the network is for 5 identities, the data set has 7"):
            TINY.with_ids(7)

    def test_it_is_saved_and_loaded(self, net, images, tmp_path):
        path = Network(net, TINY, None, tuple(range(5))).save(tmp_path / "teacher.safetensors")
        loaded = Network.load(path)
        assert loaded.space == TINY
        assert torch.equal(loaded.net(images).logits, net.eval()(images).logits)


def test_a_network_without_branches_is_trained_by_its_own_loss(images):
    out = ReID(backbone=ShallowCNN(widths=(1 / 16,)), num_ids=3, embedding_dim=4).student()(images)
    batch = Batch(images, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert BranchesLoss(each=VRKDLoss())(out, batch, 2.0) == VRKDLoss()(out, batch, 2.0)


class TestEnsembleOfFiles:
    """Any networks that this project saved, joined by `nas teach`."""

    IDENTITIES = tuple(range(6))  # the toy's

    def saved(self, path, space: ReID, architecture: Architecture | None = None, identities=IDENTITIES):
        space = replace(space, num_ids=len(identities))
        torch.manual_seed(len(path.name))
        return Network(space.student(architecture), space, architecture, identities).save(path)

    def members(self, folder):
        space = ReID(backbone=ResNet(width=1 / 16), embedding_dim=8)
        published = dict(replace(space, num_ids=6).published().decisions)
        searched = Architecture("ReID", published | {"backbone.layer2.1": "skip"})
        return [
            self.saved(folder / "one.safetensors", space, searched),
            self.saved(folder / "other.safetensors", ReID(backbone=ShallowCNN(widths=(1 / 16,)), embedding_dim=4)),
        ]

    def teach(self, folder, *members) -> int:
        return main(
            [
                "teach",
                "toy",
                "--out",
                str(folder),
                "--machine.device",
                "cpu",
                "--json",
                "--teacher.members",
                *map(str, members),
            ]
        )

    def test_they_teach_together(self, tmp_path, images):
        members = self.members(tmp_path)
        assert self.teach(tmp_path / "run", *members) == 0
        together, alone = Network.load(tmp_path / "run" / "teacher.safetensors"), [Network.load(m).net for m in members]
        out = together.net(images)
        assert torch.allclose(out.logits, sum(net(images).logits for net in alone) / 2, atol=1e-6)
        assert out.embedding.shape == (6, 8 + 4) and {"0.layer3", "1.layer3"} <= set(out.maps)
        assert together.identities == self.IDENTITIES
        assert together.architecture.decisions["0.backbone.layer2.1"] == "skip"

    def test_a_student_that_ksl_trained_is_a_teacher_like_any_other(self, tmp_path, images):
        space = KSL(main=ReID(backbone=ResNet(width=1 / 16), num_ids=6, embedding_dim=8), branches=("layer3",))
        net = space.student().eval()
        student = Network(net, space, None, self.IDENTITIES).inference().save(tmp_path / "student.safetensors")
        assert self.teach(tmp_path / "run", student, *self.members(tmp_path)) == 0
        together = Network.load(tmp_path / "run" / "teacher.safetensors").net
        assert torch.equal(together(images).branches[0].logits, net(images).logits)

    def test_another_member_is_another_teacher(self, tmp_path, capsys):
        members = self.members(tmp_path)
        assert self.teach(tmp_path / "run", *members) == 0
        assert self.teach(tmp_path / "run", *members[::-1]) == 2
        assert "another configuration" in capsys.readouterr().err

    def test_what_cannot_teach_together_is_named(self, tmp_path, capsys):
        space = ReID(backbone=ResNet(width=1 / 16))
        stranger = self.saved(tmp_path / "stranger.safetensors", space, identities=(1, 2, 3))
        assert self.teach(tmp_path / "run", *self.members(tmp_path), stranger) == 2
        assert "stranger.safetensors knows 3 identities" in capsys.readouterr().err
        assert self.teach(tmp_path / "run", tmp_path / "nowhere.safetensors") == 2
        assert "nowhere.safetensors does not exist: give a teacher.safetensors" in capsys.readouterr().err
        with pytest.raises(ValueError, match="weights or members, not both"):
            TeacherRecipe(weights=stranger, members=(stranger,))


@pytest.mark.medium
def test_a_directional_teacher_trains_and_teaches_through_the_command(tmp_path):
    recipe = tmp_path / "recipe_of_the_directional_test.py"
    recipe.write_text('''
from dataclasses import replace
from nas.losses.vrkd import (BranchesLoss, VRKDLoss)
from nas.losses.kd import (KDLoss)
from nas.recipe import Recipe, TeacherRecipe
from teachers.directional import (Directional)
from runs.recipes.demo import toy_vehicles
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from students.ksl import KSL
from students.reid import ReID

def directed() -> Recipe:
    """A tiny directional teacher for a tiny student."""
    toy = toy_vehicles()
    training = replace(toy.retrain, epochs=1, validate_every=0)
    net = Directional(backbone=ResNet(width=1 / 16, last_stride=1), embedding_dim=8)
    return replace(toy, strategy=None, baseline=None, retrain=training, loss=VRKDLoss(), student=None,
                   space=ReID(backbone=ShallowCNN(widths=(1 / 8,)), embedding_dim=8),
                   teacher=TeacherRecipe(net=net, loss=BranchesLoss(each=KDLoss()), training=training))
''')
    folder = tmp_path / "run"
    assert main(["teach", f"{recipe}:directed", "--out", str(folder), "--machine.device", "cpu", "--json"]) == 0
    assert main(["retrain", str(folder), "--json"]) == 0
    assert Network.load(folder / "teacher.safetensors").space.title == "directional ResNet-18 x0.0625"
    history = json.loads((folder / "retrain.history.jsonl").read_text().splitlines()[0])
    assert set(history["loss"]) == {"total", "identity", "triplet", "distill"} and history["temperature"] == 2.0
