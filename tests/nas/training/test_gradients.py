"""Two processes average their gradients in buckets, over gloo, while the backward pass goes on."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.training import gradients
from nas.training.gradients import buckets_of, gradients_of, mean_gradients
from nas.training.machine import Machine
from tests.ranks import ended, ranks

RANKS = 2


class Net(nn.Module):
    """Two layers behind a first one, of which the processes use them in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor, rank: int) -> Tensor:
        hidden = self.first(x)
        if rank:
            return (self.two(hidden) + self.one(hidden).exp()).square().mean()
        return (self.one(hidden).exp() + hidden @ self.two.weight.T).square().mean()


def loss_of(net: Net, rank: int) -> Tensor:
    return net(torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(rank)), rank)


def network() -> Net:
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    found = ended(ranks([__file__, str(folder)], RANKS), seconds=600)
    assert [each.status for each in found] == [0] * RANKS, found
    return [torch.load(folder / f"{rank}") for rank in range(RANKS)]


@pytest.mark.medium
def test_all_processes_have_the_mean_to_the_bit(of_ranks):
    net = network()
    own = [gradients_of(loss_of(net, rank), list(net.parameters())) for rank in range(RANKS)]
    assert not own[0][-1].any() and own[1][-1].any()  # one process does not use the last bias
    for first, second, *each in zip(*(found["means"] for found in of_ranks), *own, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, torch.stack(each).mean(dim=0), rtol=1e-14, atol=0)


@pytest.mark.medium
def test_the_last_layers_are_sent_before_the_first_ones_are_known(of_ranks):
    """Where all are used: else a bucket waits for what comes with the end, and the others wait for it."""
    assert of_ranks[1]["sent before the first"] == 2 and of_ranks[0]["sent before the first"] == 0


@pytest.mark.medium
def test_a_loss_of_one_process_that_depends_on_nothing_counts_as_zero(of_ranks):
    net = network()
    own = gradients_of(loss_of(net, 1), list(net.parameters()))
    for first, second, of_one in zip(*(found["means of one"] for found in of_ranks), own, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, of_one / RANKS, rtol=1e-14, atol=0)


class TestBuckets:
    def test_they_begin_with_the_last_and_hold_what_fits(self, monkeypatch):
        monkeypatch.setattr(gradients, "BUCKET_BYTES", 16)
        of = [torch.zeros(size) for size in (1, 3, 2, 2, 9, 1)]
        assert buckets_of(of) == [[5], [4], [3, 2], [1, 0]]

    def test_types_do_not_mix(self):
        assert buckets_of([torch.zeros(2), torch.zeros(2), torch.zeros(2, dtype=torch.float64)]) == [[2], [1, 0]]

    def test_nothing_needs_none(self):
        assert buckets_of([]) == []


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = Machine(device="cpu", devices=RANKS).fabric().global_rank
    gradients.BUCKET_BYTES = 8 * 40  # a layer
    net, num_sent, before = network(), 0, []

    def counted(*given, **how):
        nonlocal num_sent
        num_sent += 1
        return reduce(*given, **how)

    reduce, torch.distributed.all_reduce = torch.distributed.all_reduce, counted
    watch = net.first.weight.register_hook(lambda gradient: before.append(num_sent))
    means = mean_gradients(loss_of(net, rank), list(net.parameters()))
    watch.remove()
    total = loss_of(net, rank) if rank else torch.zeros((), dtype=torch.float64)
    of_one = mean_gradients(total, list(net.parameters()))
    torch.save({"means": means, "means of one": of_one, "sent before the first": before[0]}, folder / f"{rank}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
