"""Which parameters ask for a gradient, and what forward passes leave as it is."""

import pytest
from torch import nn

from nas.strategies.autograd import require_grad_only, running_statistics_kept


def test_only_gives_back_what_it_took_even_after_an_error():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    with pytest.raises(ZeroDivisionError), require_grad_only([net[1].weight], net.parameters()):
        assert [p.requires_grad for p in net.parameters()] == [False, False, True, False]
        _ = 1 / 0
    assert [p.requires_grad for p in net.parameters()] == before


class Learner(nn.Module):
    def __init__(self, learning):
        super().__init__()
        self.learning = learning


def test_what_modules_learn_is_paused_and_goes_on_as_it_was():
    net = nn.Sequential(Learner(True), Learner(False), nn.BatchNorm2d(2))
    with pytest.raises(KeyError), running_statistics_kept([*net.modules()]):
        assert [net[0].learning, net[1].learning, net[2].momentum] == [False, False, 0]
        raise KeyError
    assert [net[0].learning, net[1].learning, net[2].momentum] == [True, False, 0.1]
