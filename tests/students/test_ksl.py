"""KSL's branches: where they start, that they are the main network's, and that nothing of them is left at inference."""

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.cell import Cells
from search_spaces.derive import derive
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.relaxed import Supernet
from search_spaces.resnet import ResNet
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.ksl import KSL, KSLNet
from students.reid import ReID

BACKBONES = {
    "mobilenet": (MobileNetV2(width=0.1), ("stage4", "stage6")),
    "shufflenet": (ShuffleNetV2(width=0.1), ("stage3", "stage4")),
    "resnet": (ResNet(width=1 / 16), ("layer3", "layer4")),
    "shallow": (ShallowCNN(widths=(1 / 16,)), ("layer3", "layer4")),
}


def ksl(name: str, **fields) -> KSL:
    backbone, branches = BACKBONES[name]
    return KSL(**{"main": ReID(backbone=backbone, num_ids=5, embedding_dim=7), "branches": branches} | fields)


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=BACKBONES)
def space(request) -> KSL:
    return ksl(request.param)


def test_each_branch_has_its_own_head_on_the_end_of_the_backbone(space):
    out = space.student()(images())
    assert [tuple(branch.logits.shape) for branch in (out, *out.branches)] == [(4, 5)] * 3
    assert [tuple(branch.embedding.shape) for branch in (out, *out.branches)] == [(4, 7)] * 3
    assert {tuple(branch.maps["map"].shape) for branch in out.branches} == {tuple(out.maps["map"].shape)}
    assert not torch.equal(out.logits, out.branches[0].logits)


def test_a_branch_with_the_main_networks_weights_says_the_same(space):
    """So a branch is the main network behind the map that it starts at, in the order of the stages."""
    net = space.student().eval()
    net.repeat_weights()
    for branch in net.branches.values():
        for head in ("embedding", "neck", "classifier"):
            getattr(branch, head).load_state_dict(getattr(net.main, head).state_dict())
    maps, said = net.main.backbone(images()), net.main(images())
    stages = list(net.main.backbone.stages())
    for stage, branch in net.branches.items():
        assert torch.equal(branch(maps[stages[stages.index(stage) - 1]]).feature, said.feature)


def test_branches_share_what_comes_before_them_and_nothing_else(space):
    net = space.student()
    repeated = {
        stage: sum(
            p.numel()
            for one in list(net.main.backbone.stages())[place:]
            for module in net.main.backbone.stages()[one]
            for p in module.parameters()
        )
        for place, stage in enumerate(net.main.backbone.stages())
    }
    heads = sum(p.numel() for p in net.main.parameters()) - sum(p.numel() for p in net.main.backbone.parameters())
    assert {stage: sum(p.numel() for p in branch.parameters()) - heads for stage, branch in net.branches.items()} == {
        stage: repeated[stage] for stage in space.branches
    }
    assert len({id(p) for p in net.parameters()}) == len(list(net.parameters()))


def test_inference_has_exactly_the_backbones_parameters(space):
    alone = space.main.student()
    for net in (space.student().inference(), space.student(space.published()).inference()):
        assert {n: p.shape for n, p in net.named_parameters()} == {n: p.shape for n, p in alone.named_parameters()}
        assert {n: b.shape for n, b in net.named_buffers()} == {n: b.shape for n, b in alone.named_buffers()}


def test_in_eval_mode_it_is_the_main_network(space):
    net = space.student().eval()
    out, alone = net(images()), net.inference()(images())
    assert out.branches == () and torch.equal(out.feature, alone.feature)


def test_gradients_reach_every_parameter_through_the_branches_alone():
    net = ksl("resnet").student()
    branches = net(images()).branches
    sum(branch.logits.square().sum() for branch in branches).backward()
    shared = {name for name, p in net.main.named_parameters() if p.grad is not None}
    assert shared == {
        name
        for name, _ in net.main.named_parameters()
        if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2", "backbone.layer3"))
    }
    assert all(p.grad is not None for p in net.branches.parameters())


def test_no_branches_are_the_network_alone():
    net = ksl("resnet", branches=()).student()
    assert net(images()).branches == () and isinstance(net, KSLNet)


class TestWhereBranchesStart:
    @pytest.mark.parametrize(
        "name, exist",
        [
            ("mobilenet", "stage2, stage3, stage4, stage5, stage6, stage7, last"),
            ("shufflenet", "stage3, stage4, conv5"),
            ("resnet", "layer2, layer3, layer4"),
        ],
    )
    @pytest.mark.parametrize("field", ["branches", "open_branches"])
    def test_unknown_points_are_refused_with_those_that_exist(self, name, exist, field):
        with pytest.raises(ValueError, match=rf"has no stage1, stage9, it has {exist}$"):
            ksl(name, **{field: ("stage9", "stage1")}).published()

    def test_a_backbone_without_stages_has_none(self):
        space = KSL(main=ReID(backbone=Cells(channels=2, cells=2, reductions=(2,)), num_ids=5), branches=("cell2",))
        with pytest.raises(ValueError, match="has no cell2, it has none to start at"):
            space.published()

    def test_the_order_in_which_they_are_named_does_not_matter(self):
        nets = [ksl("resnet", branches=branches).student() for branches in (("layer4", "layer2"), ("layer2", "layer4"))]
        assert [list(net.branches) for net in nets] == [["layer2", "layer4"]] * 2


class TestOpenBranches:
    space = ksl("resnet", branches=("layer3",), open_branches=("layer3", "layer4"))

    @pytest.mark.medium
    def test_decide_where_they_start_and_how_many_there_are(self):
        published = self.space.published()
        assert {n: a for n, a in published.decisions.items() if n.startswith("branch.")} == {
            "branch.layer3": True,
            "branch.layer4": False,
        }
        drawn = [self.space.sample(np.random.default_rng(seed)) for seed in range(12)]
        found = {tuple(self.space.student(architecture).branches) for architecture in drawn}
        assert found == {(), ("layer3",), ("layer4",), ("layer3", "layer4")}

    def test_are_no_part_of_what_is_saved(self):
        architecture = self.space.sample(np.random.default_rng(0))
        main, rest = self.space.inference(architecture)
        assert main == self.space.main and rest.space == "ReID"
        assert architecture.decisions.keys() - rest.decisions.keys() == {"branch.layer3", "branch.layer4"}
        main.check(rest)

    def test_a_gradient_search_names_the_decision_that_it_cannot_make(self):
        with pytest.raises(ValueError, match=r"cannot keep all of branch\.layer3 = \[True, False\]: decide it"):
            Supernet.of(self.space)

    def test_once_decided_the_backbone_is_searched(self):
        branches = Architecture("KSL", {"branch.layer3": True, "branch.layer4": True})
        found = derive(Supernet.of(self.space, architecture=branches))
        assert found.decisions.items() >= branches.decisions.items()
        self.space.check(found)


def test_branches_repeat_the_architecture(space):
    architecture = space.sample(np.random.default_rng(1))
    net, alone = space.student(architecture), space.main.student(architecture)
    stages = {name: nn.Sequential(*modules) for name, modules in alone.backbone.stages().items()}
    for branch in net.branches.values():
        for name, stage in branch.backbone.stages.items():
            assert [p.shape for p in stage.parameters()] == [p.shape for p in stages[name].parameters()]


@pytest.mark.medium
def test_a_supernet_searches_main_and_branches_with_the_same_alphas(space):
    net = Supernet.of(space)
    assert net.alpha.shape == Supernet.of(space.main).alpha.shape
    out = net(images())
    assert len(out.branches) == 2
    by_branch = torch.autograd.grad(sum(b.logits.square().sum() for b in out.branches), net.alpha)[0]
    assert by_branch.abs().sum(dim=1).count_nonzero() == len(net.options)
    found = derive(net)
    space.check(found)
    space.main.check(space.inference(found)[1])


def test_number_of_identities_is_the_main_networks():
    space = ksl("resnet", main=ReID(backbone=BACKBONES["resnet"][0])).with_ids(9)
    assert [b.logits.shape[1] for b in space.student()(images()).branches] == [9, 9]
    with pytest.raises(ValueError, match="for 9 identities, the data set has 7"):
        space.with_ids(7)


def test_pretrained_weights_are_repeated_and_not_shared():
    net = ksl("mobilenet").student()
    net.repeat_weights()
    for branch in net.branches.values():
        for name, stage in branch.backbone.stages.items():
            for ours, theirs in zip(
                stage.parameters(), nn.Sequential(*net.main.backbone.stages()[name]).parameters(), strict=True
            ):
                assert torch.equal(ours, theirs) and ours.data_ptr() != theirs.data_ptr()
