"""A teacher is listened to and never changed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from nas.data.batches import Batch
from search_spaces.resnet import ResNet
from students.reid import ReID
from teachers.teacher import Teacher, check_identities, with_teacher


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


class Stream:
    """In the place of a CUDA stream: what is launched on it is noted, and what it waits for."""

    device = torch.device("cuda:0")

    def __init__(self, name: str, done: list[str]) -> None:
        self.name, self.done = name, done

    def wait_stream(self, other: "Stream") -> None:
        self.done.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> str:
        return f"answer {sum(each.startswith('asked') for each in self.done) - 1}"

    def wait_event(self, event: str) -> None:
        self.done.append(f"{self.name} waits for {event}")


@pytest.fixture
def streams(monkeypatch) -> tuple[Stream, list[str]]:
    """The stream that a teacher is asked on, and what happens on it and on the other one."""
    done: list[str] = []
    side, stack = Stream("side", done), [Stream("main", done)]

    @contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        stack.append(stream)
        yield
        stack.pop()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stack[-1])
    monkeypatch.setattr(torch.cuda, "stream", entered)
    asked = Teacher.of_batch

    def noted(self, batch):
        done.append(f"asked {int(batch.labels[0])} on {stack[-1].name}")
        return asked(self, batch)

    monkeypatch.setattr(Teacher, "of_batch", noted)
    return side, done


def drawn(images: torch.Tensor, number: int = 3) -> list[Batch]:
    return [Batch(images + i, torch.full((4,), i)) for i in range(number)]


def test_on_a_stream_of_its_own_it_is_asked_one_batch_ahead(net, images, streams):
    side, done = streams
    batches, plain, ahead = drawn(images), Teacher(net, nullcontext), Teacher(net, nullcontext, stream=side)
    expected = [batch.teacher for batch in with_teacher(batches, plain)]
    done.clear()
    for i, batch in enumerate(with_teacher(batches, ahead)):
        done.append(f"step {i}")
        assert torch.equal(batch.images, batches[i].images) and torch.equal(batch.teacher.logits, expected[i].logits)
    asks = [["side waits for main", f"asked {i} on side"] for i in range(3)]
    steps = [[f"main waits for answer {i}", f"step {i}"] for i in range(3)]
    assert done == [*asks[0], *asks[1], *steps[0], *asks[2], *steps[1], *steps[2], "main waits for side"]


@pytest.mark.parametrize("number", [1, 3])
def test_images_that_nobody_took_stay_until_they_have_been_seen(net, images, streams, number):
    side, done = streams
    taken = with_teacher(drawn(images, number), Teacher(net, nullcontext, stream=side))
    next(taken)
    taken.close()
    assert done[-1] == "main waits for side"
    done.clear()
    assert not list(with_teacher([], Teacher(net, nullcontext, stream=side))) and done == ["main waits for side"]
