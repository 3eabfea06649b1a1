"""A teacher is listened to and never changed."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.teacher import Teacher, check_identities


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = ReID(backbone=ResNet(width=1 / 16), num_ids=3, embedding_dim=8).student()
    net(torch.randn(8, 3, 32, 16))
    return net


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 16, generator=torch.Generator().manual_seed(1))


def test_is_frozen_and_in_eval_mode(net, images):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    teacher = Teacher(net, nullcontext)
    first = teacher(images).logits
    assert torch.allclose(teacher(images[:1]).logits, first[:1], atol=1e-6)
    assert torch.equal(teacher(images).logits, first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(p.requires_grad for p in net.parameters()) and not net.training


def test_what_it_says_is_a_constant_that_a_loss_may_use(net, images):
    images.requires_grad_()
    told = Teacher(net, nullcontext, maps=("layer1",))(images)
    for answer in (told.logits, told.embedding, told.maps["layer1"]):
        nn.Linear(answer.shape[-1], 1)(answer).sum().backward()
        assert not answer.requires_grad and not answer.is_inference()
    assert images.grad is None and all(p.grad is None for p in net.parameters())


def test_says_what_its_network_says_and_keeps_only_the_maps_asked_for(net, images):
    out = net.eval()(images)
    told = Teacher(net, nullcontext, maps=("layer3", "map"))(images)
    assert torch.equal(told.logits, out.logits) and torch.equal(told.embedding, out.embedding)
    assert list(told.maps) == ["layer3", "map"] and torch.equal(told.maps["layer3"], out.maps["layer3"])
    assert not Teacher(net, nullcontext)(images).maps


def test_a_map_that_does_not_exist_is_named_with_those_that_do(net, images):
    with pytest.raises(ValueError, match="the teacher has no map layer9; it has layer1, layer2, layer3, layer4, map"):
        Teacher(net, nullcontext, maps=("layer3", "layer9"))(images)


def test_is_no_part_of_a_student(net):
    student = nn.Linear(2, 2)
    student.teacher = Teacher(net, nullcontext)
    assert set(student.state_dict()) == {"weight", "bias"} and len(list(student.parameters())) == 2
    student.train()
    assert not net.training


def test_precision_is_the_machines_and_logits_are_single(net, images):
    full = Teacher(net, nullcontext)(images).logits
    lowered = Teacher(net, lambda: torch.autocast("cpu", torch.bfloat16))(images).logits
    assert full.dtype == lowered.dtype == torch.float32
    assert not torch.equal(full, lowered) and torch.equal(lowered, lowered.bfloat16().float())
    assert torch.allclose(full, lowered, atol=0.05 * full.abs().max().item())


class TestIdentities:
    def test_the_same_are_welcome(self):
        check_identities("the teacher", (3, 5, 9), [3, 5, 9], "Market-1501")

    @pytest.mark.parametrize(
        "identities, message",
        [
            ((3, 5), "the teacher knows 3 identities, Market-1501 has 2"),
            ((3, 9, 5), "for the teacher identity number 1 is 5, that of Market-1501 is 9"),
            ((3, 5, 8), "for the teacher identity number 2 is 9, that of Market-1501 is 8"),
        ],
    )
    def test_others_are_named(self, identities, message):
        with pytest.raises(ValueError, match=f"same identities in the same order: {message}.*nas teach"):
            check_identities("the teacher", (3, 5, 9), identities, "Market-1501")
