"""Architectures as plain data, and the answers of Fixed and Sampled, on spaces of a few lines."""

import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces import ops
from search_spaces.architecture import Architecture, all_edges, check_edges
from search_spaces.derive import derive
from search_spaces.pick import Fixed, Sampled
from search_spaces.relaxed import States, Supernet
from search_spaces.space import SearchSpace

OFFERED = {0: ["sep3", "skip"], 1: ["sep3", "skip"], 2: ["skip"]}


class Net(nn.Module):
    """A stem, an operation, a node."""

    def __init__(self, stem, op, node):
        super().__init__()
        self.stem, self.op, self.node = stem, op, node
        self.out_channels = stem.out_channels

    def forward(self, x):
        x = self.stem(x)
        return {"map": self.node(States([x, self.op(x)]))}


@dataclass(frozen=True, kw_only=True)
class Tiny(SearchSpace):
    """One question of each kind."""

    widths: tuple[int, ...] = (4, 6)

    def build(self, pick, c_in=3):
        c = pick.value("width", self.widths)
        makers = {key: partial(ops.KDAS[key], c, 1, pick.affine) for key in ("sep3", "dil3", "skip")}
        node = pick.edges("node", {0: makers, 1: makers}, keep=1, published=("dil3@1",))
        return Net(nn.Conv2d(c_in, c, 1), pick.op("op", makers), node)


class Pair(nn.Module):
    def __init__(self, left, right):
        super().__init__()
        self.left, self.right = left, right
        self.out_channels = right.out_channels

    def forward(self, x):
        return {"left": self.left(x)["map"], "map": self.right(x)["map"]}


@dataclass(frozen=True, kw_only=True)
class Two(SearchSpace):
    """A space around spaces."""

    inner: SearchSpace = Tiny()

    def build(self, pick, c_in=3):
        pair = pick.within("pair")
        return Pair(self.inner.build(pair.within("left"), c_in), self.inner.build(pair.within("right"), c_in))


WIDTHS = {"pair.left.width": 4, "pair.right.width": 6}


def test_published_is_the_first_answer_of_every_question():
    assert Tiny().published().decisions == {"width": 4, "node": ("dil3@1",), "op": "sep3"}


def test_one_option_is_not_a_question():
    assert "width" not in Tiny(widths=(4,)).published().decisions
    with pytest.raises(ValueError, match="decides width, which this space does not ask"):
        Tiny(widths=(4,)).check(Tiny().published())


def test_the_hash_is_of_the_decisions_alone_and_the_same_everywhere():
    architecture = Architecture("Tiny", {"width": 4, "node": ("dil3@1",), "op": "sep3"})
    turned = Architecture("Other", {"op": "sep3", "node": ("dil3@1",), "width": 4})
    assert architecture.hash == turned.hash == "1a68d5327daf"
    assert architecture == turned and len({architecture, turned}) == 1
    assert architecture.hash != Architecture("Tiny", {**architecture.decisions, "width": 6}).hash


def test_plain_data_in_json():
    architecture = Architecture("Tiny", {"width": 4, "node": ("dil3@1",), "op": "sep3"})
    text = '{"format": 1, "space": "Tiny", "decisions": {"width": 4, "node": ["dil3@1"], "op": "sep3"}}'
    assert json.dumps(architecture.to_dict()) == text
    assert Architecture.from_dict(json.loads(text)) == architecture


@pytest.mark.parametrize("broken", [None, [], {}, {"decisions": 3}])
def test_what_is_no_architecture_is_refused(broken):
    with pytest.raises(ValueError, match="an architecture is"):
        Architecture.from_dict(broken)


@pytest.mark.parametrize("version", [2, "2", None])
def test_other_formats_are_refused(version):
    with pytest.raises(ValueError, match=f"up to format 1, not {version!r}"):
        Architecture.from_dict({"format": version, "decisions": {}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 5}, r"width = 5, but the space offers \[4, 6\]"),
        ({"op": "max3"}, r"op = 'max3', but the space offers \['sep3', 'dil3', 'skip'\]"),
        ({"node": ("max3@0",)}, "node = .*must name 1 different inputs.*sep3"),
        ({"node": ("sep3@0", "sep3@1")}, "node must be 1 of 'operation@input'"),
        ({"node": "sep3@0"}, "node must be 1 of 'operation@input'"),
        ({"depth": 3}, "decides depth, which this space does not ask; it asks node, op, width"),
    ],
)
def test_a_wrong_decision_is_refused_with_what_is_offered(change, message):
    with pytest.raises(ValueError, match=message):
        Tiny().check(Architecture("Tiny", {**Tiny().published().decisions, **change}))


def test_a_missing_decision_is_named_with_those_that_are_there():
    with pytest.raises(ValueError, match=r"of space 'Tiny'\) does not decide 'op'; it decides node, width"):
        Tiny().student(Architecture("Tiny", {"width": 4, "node": ("dil3@1",)}))


@pytest.mark.parametrize(
    "answer",
    [
        ("sep3@0",),
        ("sep3@0", "skip@0"),
        ("sep3@0", "sep3@2"),
        ("sep3@0", "skip@7"),
        ("sep3", "skip@1"),
        ("sep3@x", "skip@1"),
        ("sep3@0", 1),
        ["sep3@0", "skip@1"],
        "sep3@0",
    ],
    ids=repr,
)
def test_edges_that_do_not_fit(answer):
    with pytest.raises(ValueError, match="node"):
        check_edges("node", answer, OFFERED, 2)


def test_all_edges_are_all_that_fit():
    every = all_edges(OFFERED, 2)
    assert len(set(every)) == len(every) == 2 * 2 + 2 * 1 + 2 * 1
    for answer in every:
        check_edges("node", answer, OFFERED, 2)


def test_the_same_name_is_the_same_decision():
    for pick in (Fixed(), Sampled(np.random.default_rng(0))):
        assert len({pick.value("same", (1, 2, 3)) for _ in range(20)}) == 1
        assert list(pick.answers) == ["same"]


def test_chance_reaches_every_answer():
    rng = np.random.default_rng(0)
    samples = {Tiny().sample(rng) for _ in range(400)}
    assert len(samples) == 2 * 3 * 6
    assert all(isinstance(a, str) for sample in samples for a in sample.decisions["node"])


def test_a_space_in_a_space_puts_its_name_before_every_question():
    published = Two().published()
    inner = Tiny().published().decisions
    assert published.decisions == {f"pair.{side}.{name}": a for side in ("left", "right") for name, a in inner.items()}
    halves = Architecture("Two", {**published.decisions, "pair.right.width": 6})
    net = Two().student(halves)
    assert (net.left.out_channels, net.right.out_channels) == (4, 6)
    with pytest.raises(ValueError, match=r"pair\.left\.width = 5"):
        Two().student(Architecture("Two", {**published.decisions, "pair.left.width": 5}))


def test_a_supernet_of_spaces_in_a_space():
    net = Supernet.of(Two(), architecture=Architecture("Two", WIDTHS))
    questions = ("op", "node<0", "node<1")
    assert set(net.options) == {f"pair.{side}.{name}" for side in ("left", "right") for name in questions}
    found = derive(net)
    assert found.decisions.items() >= WIDTHS.items()
    images = torch.randn(2, 3, 8, 4)
    student = Two().student(found)
    assert {k: m.shape for k, m in student(images).items()} == {k: m.shape for k, m in net(images).items()}


def test_a_supernet_cannot_keep_all_values():
    with pytest.raises(ValueError, match=r"cannot keep all of width = \[4, 6\].*decide it in the architecture"):
        Supernet.of(Tiny())
    assert "width" not in Supernet.of(Tiny(widths=(4,))).options
    assert derive(Supernet.of(Tiny(), architecture=Architecture("", {"width": 6}))).decisions["width"] == 6


def test_nothing_is_allocated_to_check_or_sample():
    vast = Tiny(widths=(1 << 24,))
    vast.check(vast.sample(np.random.default_rng(0)))
