"""Beta-decay against a loop over the decisions, and that a search has it in its alphas' loss alone."""

import math

import pytest
import torch

from nas.strategies.beta_decay import beta_decay
from nas.strategies.bilevel import Bilevel
from nas.strategies.darts import DARTS
from nas.training.optimisers import Adam
from search_spaces.relaxed import Supernet
from tests.nas.strategies.toys import Fit, Smooth, batch

ABSENT = torch.tensor([[False, False, True], [False, False, False]])


def test_it_is_the_smooth_maximum_and_its_gradient_the_softmax():
    torch.manual_seed(0)
    alpha = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    decay = beta_decay(alpha, ABSENT)
    (gradient,) = torch.autograd.grad(decay, alpha)
    rows = [alpha[0, :2].tolist(), alpha[1].tolist()]
    assert decay.item() == pytest.approx(sum(math.log(sum(map(math.exp, row))) for row in rows) / 2, rel=1e-12)
    expected = [[math.exp(a) / sum(map(math.exp, row)) / 2 for a in row] for row in rows]
    assert gradient.tolist() == [pytest.approx([*expected[0], 0.0], rel=1e-12), pytest.approx(expected[1], rel=1e-12)]
    assert torch.autograd.gradcheck(lambda a: beta_decay(a, ABSENT), [alpha])


@pytest.mark.parametrize("order", [1, 2])
def test_its_weight_grows_to_the_last_epoch_in_the_alphas_gradient(stage, order):
    """Against the same step without it: what is added is its gradient, at either order."""
    gradients = {}
    for weight in (0.0, 8.0):
        torch.manual_seed(0)
        supernet = Supernet.of(Smooth()).double()
        bilevel = Bilevel(DARTS(epochs=5, beta_decay=weight, order=order), supernet, Fit(), stage)
        pictures = [batch(seed, dtype=torch.float64) for seed in range(2)]
        _, gradients[weight] = (
            bilevel._gradients(bilevel.alpha_loss, pictures[1], 3, [supernet.alpha])
            if order == 1
            else bilevel.hypergradient(*pictures, 3, 0.1)
        )
    (decay,) = torch.autograd.grad(beta_decay(supernet.alpha, supernet.absent), supernet.alpha)
    torch.testing.assert_close(gradients[8.0][0] - gradients[0.0][0], 8.0 * 3 / 4 * decay, rtol=1e-9, atol=1e-12)


def test_the_history_says_it_and_weights_stay_closer(stage, tmp_path, fabric):
    found = {}
    for weight in (0.0, 50.0):
        torch.manual_seed(0)
        strategy = DARTS(epochs=8, alphas=Adam(lr=0.5), beta_decay=weight)
        found[weight] = strategy.search(
            Smooth(), Fit(), type(stage)(tmp_path / str(weight), "search", "", stage.machine)
        )
    assert ["beta_decay" in found[weight].history[0]["alpha"] for weight in found] == [False, True]
    assert found[50.0].history[0]["alpha"]["beta_decay"] == 0.0 < found[50.0].history[1]["alpha"]["beta_decay"]
    last = [found[weight].history[-1]["health"]["margin"] for weight in found]
    assert last[1] < last[0]
