"""Which parameters ask for a gradient."""

import pytest
from torch import nn

from nas.strategies.autograd import require_grad_only


def test_only_gives_back_what_it_took_even_after_an_error():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    with pytest.raises(ZeroDivisionError), require_grad_only([net[1].weight], net):
        assert [p.requires_grad for p in net.parameters()] == [False, False, True, False]
        _ = 1 / 0
    assert [p.requires_grad for p in net.parameters()] == before
