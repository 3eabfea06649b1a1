"""A teacher is listened to and never changed."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.teacher import Teacher

IDENTITIES = (3, 5, 9)


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
    teacher = Teacher(net, IDENTITIES, nullcontext)
    first = teacher(images)
    assert torch.equal(teacher(images[:1]), first[:1]) or torch.allclose(teacher(images[:1]), first[:1], atol=1e-6)
    assert torch.equal(teacher(images), first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(p.requires_grad for p in net.parameters()) and not net.training


def test_what_it_says_is_a_constant_that_a_loss_may_use(net, images):
    images.requires_grad_()
    told = Teacher(net, IDENTITIES, nullcontext)(images)
    student = nn.Linear(3, 3)
    (student(told) * told).sum().backward()
    assert not told.requires_grad and not told.is_inference()
    assert images.grad is None and all(p.grad is None for p in net.parameters())


def test_is_no_part_of_a_student(net):
    student = nn.Linear(2, 2)
    student.teacher = Teacher(net, IDENTITIES, nullcontext)
    assert set(student.state_dict()) == {"weight", "bias"} and len(list(student.parameters())) == 2
    student.train()
    assert not net.training


def test_precision_is_the_machines_and_logits_are_single(net, images):
    full = Teacher(net, IDENTITIES, nullcontext)(images)
    lowered = Teacher(net, IDENTITIES, lambda: torch.autocast("cpu", torch.bfloat16))(images)
    assert full.dtype == lowered.dtype == torch.float32
    assert not torch.equal(full, lowered) and torch.equal(lowered, lowered.bfloat16().float())
    assert torch.allclose(full, lowered, atol=0.05 * full.abs().max().item())


class TestIdentities:
    @pytest.fixture
    def teacher(self, net):
        return Teacher(net, list(IDENTITIES), nullcontext)

    def test_the_same_are_welcome(self, teacher):
        teacher.check_identities((3, 5, 9), "Market-1501")
        teacher.check_identities([3, 5, 9], "Market-1501")

    @pytest.mark.parametrize("identities, message", [
        ((3, 5), "the teacher knows 3 identities, Market-1501 has 2"),
        ((3, 9, 5), "the teacher's identity number 1 is 5, that of Market-1501 is 9"),
        ((3, 5, 8), "the teacher's identity number 2 is 9, that of Market-1501 is 8"),
    ])
    def test_others_are_named(self, teacher, identities, message):
        with pytest.raises(ValueError, match=f"same identities in the same order: {message}.*nas teach"):
            teacher.check_identities(identities, "Market-1501")
