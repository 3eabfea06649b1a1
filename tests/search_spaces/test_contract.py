"""What every search space must do. A new space joins with one line in SPACES, small enough for a moment's search."""

import copy
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture, parse_edge
from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet, Layer
from search_spaces.derive import derive
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.nas_bench_201 import NASBench201
from search_spaces.nas_bench_macro import NASBenchMacro
from search_spaces.ops import Op
from search_spaces.osnet import OSNet
from search_spaces.relaxed import NONE, MixedNode, MixedOp, Supernet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import Staged
from students.person_search import PersonSearch, RoIs
from students.rpn import Proposals


class SearchMaps(nn.Module):
    """What a network for person search says of images alone, by name."""

    def __init__(self, net):
        super().__init__()
        self.net, self.out_channels = net, net.out_channels

    def forward(self, x):
        said = self.net(x)
        heads = {"map": said.regions.embedding, "person": said.regions.class_logits, "box": said.regions.box_deltas}
        return {**said.maps, **heads, "objectness": said.objectness, "deltas": said.deltas}


@dataclass(frozen=True, kw_only=True)
class SearchedScenes(PersonSearch):
    def build(self, pick, c_in=3):
        return SearchMaps(super().build(pick, c_in))


SPACES = {
    "kdas": Cells(channels=6, cells=3, reductions=(2,)),
    "darts": Cells(channels=4, cells=3, reductions=(1, 2), candidates="darts", stem="cifar"),
    "mobilenet_v2": MobileNetV2(width=0.1),
    "resnet18": ResNet(width=1 / 8),
    "resnet50": ResNet(depth=50, last_stride=1, width=1 / 8),
    "shallow_cnn": ShallowCNN(widths=(1 / 16,)),
    "sdc_cnn": SDCCNN(widths=(1 / 16,)),
    "densenet": DenseNet(blocks=(1, 2, 1, 2), growth=2),
    "shufflenet_v2": ShuffleNetV2(width=0.1),
    "osnet": OSNet(width=1 / 8),
    "nas_bench_201": NASBench201(channels=4, cells=1),
    "nas_bench_macro": NASBenchMacro(channels=4, last_channels=16),
    "person_search": SearchedScenes(
        backbone=ShallowCNN(widths=(1 / 16,)),
        num_ids=2,
        embedding_dim=6,
        stride=8,
        proposals=Proposals(num_kept_at_test=1),
        rois=RoIs(size=(4, 4)),
    ),
}

BATCH = (4, 3, 64, 32)


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def images(seed=0, dtype=torch.float64):
    return torch.randn(BATCH, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def supernet_of(space, seed=0, **options):
    """A supernet in float64 whose alphas are far from uniform."""
    torch.manual_seed(seed)
    net = Supernet.of(space, **options).double()
    with torch.no_grad():
        net.alpha.normal_()
    return net


def loss_of(maps):
    """A random direction of every map: no BatchNorm can make it vanish."""
    rng = torch.Generator().manual_seed(7)
    return sum((m * torch.randn(m.shape, generator=rng, dtype=m.dtype)).sum() for m in maps.values())


def shapes(maps):
    return {name: tuple(m.shape) for name, m in maps.items()}


def unordered(architecture):
    """The decisions with a node's edges as a set: their order changes nothing but the hash."""
    return {name: set(a) if isinstance(a, tuple) else a for name, a in architecture.decisions.items()}


def prefer(supernet, architecture, strength=40.0):
    """Alphas that give all weight to `architecture`, and to zero on the edges it leaves out."""
    wanted = dict(architecture.decisions)
    for node, (rows, _) in supernet.nodes.items():
        kept = {source: op for op, source in map(parse_edge, wanted.pop(node))}
        wanted |= {row: kept.get(source, NONE) for source, row in rows.items()}
    with torch.no_grad():
        supernet.alpha.zero_()
        for row, (name, options) in enumerate(supernet.options.items()):
            supernet.alpha[row, options.index(wanted[name])] = strength


def transplant(target, source, choice):
    """Gives the student `target` the weights of the supernet's strongest candidates.

    A norm that only the supernet has (behind a pool) becomes the identity of evaluation mode. A scale and shift that
    only the student has keep their initial 1 and 0.
    """
    if isinstance(source, MixedOp):
        source = source.ops[choice[source.row]]
    if isinstance(source, MixedNode):
        edges = zip(target.ops, target.inputs, strict=True)
        pairs = [(op, source.edges[str(i)]) for op, i in edges]
    else:
        own = [*source.named_parameters(recurse=False), *source.named_buffers(recurse=False)]
        for name, value in own:
            getattr(target, name).data.copy_(value)
        pairs = [(child, getattr(source, name)) for name, child in target.named_children()]
    if isinstance(source, Op | Layer) and source.norm is not None and target.norm is None:
        source.norm.running_mean.zero_()
        source.norm.running_var.fill_(1 - source.norm.eps)
    for pair in pairs:
        transplant(*pair, choice)


def test_the_published_architecture_is_the_student_without_one(space):
    torch.manual_seed(0)
    plain = space.student()
    torch.manual_seed(0)
    decided = space.student(space.published())
    assert plain.state_dict().keys() == decided.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), decided.parameters(), strict=True))


def test_the_published_architecture_decides_everything_and_is_named_after_the_space(space):
    published = space.published()
    space.check(published)
    assert published.space == type(space).__name__
    assert published.decisions.keys() == space.sample(np.random.default_rng(0)).decisions.keys()


def test_samples_can_be_built_and_repeat_with_the_seed(space):
    samples = [space.sample(np.random.default_rng(seed)) for seed in range(8)]
    assert samples == [space.sample(np.random.default_rng(seed)) for seed in range(8)]
    assert len(set(samples)) > 1
    for architecture in samples:
        space.check(architecture)


@pytest.mark.medium
def test_a_mutation_keeps_the_rest(space, rng):
    parent = space.sample(rng)
    for name in list(parent.decisions)[::4]:
        kept = {other: answer for other, answer in parent.decisions.items() if other != name}
        children = [space.sample(rng, near=Architecture(parent.space, kept)) for _ in range(12)]
        assert all(child.decisions.items() >= kept.items() for child in children)
        assert any(child != parent for child in children)


def test_an_architecture_survives_json(space, rng):
    for architecture in (space.published(), space.sample(rng)):
        again = Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
        assert (again, again.hash, again.space) == (architecture, architecture.hash, architecture.space)
        space.check(again)


def test_wrong_architectures_are_refused_by_name(space, rng):
    decisions = space.sample(rng).decisions
    name = next(iter(decisions))
    cases = {
        "does not decide": {other: a for other, a in decisions.items() if other != name},
        "does not ask": {**decisions, "no.such": "thing"},
        name.replace(".", r"\."): {**decisions, name: "nonsense"},
    }
    for message, wrong in cases.items():
        for refuse in (space.check, space.student):
            with pytest.raises(ValueError, match=message):
                refuse(Architecture("Wrong", wrong))


def test_a_supernet_learns_everywhere(space):
    net = supernet_of(space)
    loss_of(net(images())).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
    assert not net.alpha.grad[net.absent].any()
    assert net.alpha.grad[~net.absent].all()


@pytest.mark.medium
def test_a_supernet_accepts_other_weights_by_name(space):
    net = supernet_of(space).eval()
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = other(images())
    actual = torch.func.functional_call(net, dict(other.named_parameters()), (images(),))
    assert not torch.equal(net(images())["map"], expected["map"])
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_the_student_has_nothing_of_the_search_and_the_same_maps(space):
    net = supernet_of(space)
    student = space.student(derive(net)).double()
    assert not any(isinstance(m, (MixedOp, MixedNode, Supernet)) for m in student.modules())
    assert not any("alpha" in name for name in student.state_dict())
    maps = student(images())
    assert shapes(maps) == shapes(net(images()))
    assert maps["map"].shape[1] == student.out_channels == net.net.out_channels


@pytest.mark.medium
def test_the_folded_supernet_is_the_plain_one(space):
    folded, plain = supernet_of(space), supernet_of(space, seed=1, folded=False)
    plain.load_state_dict(folded.state_dict())
    losses = [loss_of(net(images())) for net in (folded, plain)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    for loss in losses:
        loss.backward()
    for (name, mine), theirs in zip(folded.named_parameters(), plain.parameters(), strict=True):
        tolerance = 1e-10 * theirs.grad.abs().max().item()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.medium
def test_with_all_weight_on_one_choice_the_supernet_is_its_student(space, rng):
    for architecture in (space.published(), *(space.sample(rng) for _ in range(2))):
        net = supernet_of(space)
        for seed in range(2):
            net(images(seed))
        prefer(net, architecture)
        assert unordered(derive(net)) == unordered(architecture)
        student = space.student(architecture).double()
        transplant(student, net.net, net.alpha.argmax(dim=1).tolist())
        expected, actual = net.eval()(images()), student.eval()(images())
        for name in expected:
            torch.testing.assert_close(actual[name], expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.medium
def test_what_is_decided_stays_decided(space, rng):
    whole = space.sample(rng)
    part = dict(list(whole.decisions.items())[::2])
    net = supernet_of(space, architecture=Architecture(whole.space, part))
    assert not part.keys() & (net.options.keys() | net.nodes.keys())
    loss_of(net(images())).backward()
    found = derive(net)
    assert found.decisions.keys() == whole.decisions.keys()
    assert found.decisions.items() >= part.items()
    space.check(found)


def test_a_supernet_refuses_what_it_cannot_search(space):
    with pytest.raises(ValueError, match="nothing open"):
        Supernet.of(space, architecture=space.published())
    with pytest.raises(ValueError, match=r"no\.such.*does not ask"):
        Supernet.of(space, architecture=Architecture("", {"no.such": "thing"}))


def test_other_image_channels(space):
    first = next(m for m in space.student(c_in=1).modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 1


def test_stages_are_the_whole_network(space):
    net = space.student().double()
    if not isinstance(net, Staged):
        pytest.skip("has no stages")
    stages = {name: nn.Sequential(*modules) for name, modules in net.stages().items()}
    parts = [id(parameter) for stage in stages.values() for parameter in stage.parameters()]
    assert sorted(parts) == sorted(map(id, net.parameters()))
    maps, x = net(images()), images()
    for name, stage in stages.items():
        before = x.clone()
        y = stage(x)
        assert torch.equal(x, before), f"{name} changes its input"
        assert torch.equal(y, maps["map" if name == list(stages)[-1] else name])
        x = y
