"""DrNAS's draws against the Dirichlet distribution of torch, and the gradient of an expectation against its formula."""

import pytest
import torch
from torch.distributions import Dirichlet

from nas.strategies.drnas import DrNAS
from nas.strategies.gdas import GDAS
from search_spaces.relaxed import Supernet
from tests.nas.strategies.toys import Smooth, batch

NUM_DRAWS = 20_000


def dirichlet_supernet():
    torch.manual_seed(0)
    supernet = DrNAS().supernet(Smooth()).double()
    with torch.no_grad():
        supernet.alpha.copy_(torch.tensor([[0.7, -0.5, 0.0], [-1.5, 0.3, 2.0]]))
    return supernet


def draw(supernet):
    """The weights of a forward pass `[num_decisions, num_options]`."""
    return torch.stack([torch.stack(list(row)) for row in supernet.mixing()])


def concentrations(supernet):
    """By decision, without padding: 1 + alpha, or its exponential below 0."""
    return [torch.where(row > 0, row + 1, row.exp()) for row in (supernet.alpha[0, :2], supernet.alpha[1])]


@pytest.fixture(scope="module")
def drawn():
    supernet = dirichlet_supernet()
    with torch.no_grad():
        return torch.stack([draw(supernet) for _ in range(NUM_DRAWS)])


@pytest.mark.medium
def test_draws_have_the_mean_and_the_variance_of_the_distribution(drawn):
    supernet = dirichlet_supernet()
    torch.testing.assert_close(drawn.sum(dim=2), torch.ones(NUM_DRAWS, 2, dtype=torch.float64))
    for row, own in enumerate(concentrations(supernet)):
        wanted, values = Dirichlet(own.detach()), drawn[:, row, : len(own)]
        error = (wanted.variance / NUM_DRAWS).sqrt()
        assert ((values.mean(dim=0) - wanted.mean).abs() < 4 * error).all()
        torch.testing.assert_close(values.var(dim=0), wanted.variance, rtol=0.06, atol=0.0)
        torch.testing.assert_close(supernet.weights()[row, : len(own)], wanted.mean, rtol=1e-12, atol=1e-12)
    assert not drawn[:, 0, 2].any() and supernet.weights()[0, 2] == 0


@pytest.mark.medium
def test_the_gradient_is_that_of_the_expectation_and_torchs_dirichlet_has_the_same():
    """Of `E[sum_i c_i theta_i^2]`: `sum_i c_i b_i (b_i + 1) / (s (s + 1))` for concentrations `b` of sum `s`."""
    supernet = dirichlet_supernet()
    weights = torch.tensor([[1.0, -2.0, 0.0], [0.5, 3.0, -1.0]], dtype=torch.float64)
    ours, theirs = [], []
    for _ in range(1500):
        (gradient,) = torch.autograd.grad((weights * draw(supernet) ** 2).sum(), supernet.alpha)
        ours.append(gradient)
        thetas = [Dirichlet(own).rsample() for own in concentrations(supernet)]
        total = sum((c[: len(theta)] * theta**2).sum() for c, theta in zip(weights, thetas, strict=True))
        theirs.append(torch.autograd.grad(total, supernet.alpha)[0])
    exact = 0.0
    for c, own in zip(weights, concentrations(supernet), strict=True):
        exact = exact + (c[: len(own)] * own * (own + 1)).sum() / (own.sum() * (own.sum() + 1))
    (expected,) = torch.autograd.grad(exact, supernet.alpha)
    for found in (torch.stack(ours), torch.stack(theirs)):
        error = found.std(dim=0) / len(found) ** 0.5
        assert ((found.mean(dim=0) - expected).abs() <= 4 * error).all()
    assert expected[0, 2] == 0 and expected.abs().max() > 0.1


def test_each_pass_is_another_mixture_and_the_seed_decides_it():
    supernet, x = dirichlet_supernet(), batch(3, dtype=torch.float64).images
    torch.manual_seed(1)
    one, other = supernet(x), supernet(x)
    torch.manual_seed(1)
    assert torch.equal(one, supernet(x)) and not torch.equal(one, other)
    mean = Supernet.of(Smooth()).double()
    mean.load_state_dict(supernet.state_dict())
    with mean.weighted_with(supernet.weights()), supernet.weighted_with(supernet.weights()):
        assert torch.equal(supernet(x), mean(x))


def test_a_decided_question_is_always_drawn_as_decided():
    supernet = dirichlet_supernet()
    supernet.set_alphas({"last": {"tanh": 0.0, "softplus": 1.0, "linear": 0.0}})
    assert supernet.alphas()["last"] == {"tanh": 0.0, "softplus": 1.0, "linear": 0.0}
    assert all(draw(supernet)[1, 1] > 0.999 for _ in range(100))


@pytest.mark.parametrize("strategy", [DrNAS, GDAS])
@pytest.mark.parametrize("wrong", [{"order": 2}, {"eigenvalue_every": 1}])
def test_second_derivatives_of_a_draw_are_refused(strategy, wrong):
    with pytest.raises(ValueError, match=f"{strategy.__name__} draws another network in each forward pass"):
        strategy(**wrong)
