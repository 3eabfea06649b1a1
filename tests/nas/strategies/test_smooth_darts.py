"""SmoothDARTS's perturbations: how far they go, that an adversary raises the loss, and that weight steps alone see
them."""

import pytest
import torch

from nas.strategies.smooth_darts import SmoothBilevel, SmoothDARTS, mixture
from tests.nas.strategies.toys import KDAS, Classify, Fit, Smooth, batch


def bilevel_on(stage, perturbed, space=None, objective=None, **options):
    torch.manual_seed(0)
    strategy = SmoothDARTS(epochs=4, perturbed=perturbed, **options)
    supernet = strategy.supernet(space or Smooth())
    with torch.no_grad():
        supernet.alpha.normal_()
    return strategy.bilevel(supernet, objective or Fit(), stage, None)


def loss_at(bilevel, weights, pictures):
    with torch.no_grad(), bilevel.supernet.weighted_with(weights):
        return bilevel.objective.loss(bilevel.supernet, pictures, 0)["total"].item()


@pytest.mark.parametrize("perturbed", ["random", "adversarial"])
def test_a_perturbed_mixture_is_a_mixture_within_epsilon_before_its_sum_is_one_again(stage, perturbed):
    bilevel = bilevel_on(stage, perturbed, first_epsilon=0.05, last_epsilon=0.2)
    weights = bilevel.supernet.weights().detach()
    for epoch, epsilon in ((0, 0.05), (1, 0.1), (3, 0.2)):
        found = bilevel.perturbed(batch(0), epoch)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
        low, high = (weights - epsilon).clamp(min=0), (weights + epsilon).clamp(max=1)
        assert (found >= low / (1 + 3 * epsilon) - 1e-6).all() and (found <= high / (1 - 3 * epsilon) + 1e-6).all()
        assert not torch.equal(found, weights) and found[bilevel.supernet.absent].tolist() == [0.0]


def test_noise_of_any_size_leaves_a_mixture_and_what_is_decided_stays():
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    for noise in (torch.full((2, 3), -2.0), torch.rand(2, 3), torch.full((2, 3), 2.0)):
        found = mixture(weights + noise, weights == 0)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
        assert found[0, 2] == 0 and found[1].tolist() == [1.0, 0.0, 0.0]


def test_an_adversary_finds_a_worse_loss_than_chance_does_on_average(stage):
    pictures = batch(0)
    options = {"first_epsilon": 0.2, "last_epsilon": 0.2}
    chance, worst = (bilevel_on(stage, perturbed, **options) for perturbed in ("random", "adversarial"))
    losses = [loss_at(chance, chance.perturbed(pictures, 0), pictures) for _ in range(20)]
    reached = [loss_at(worst, worst.perturbed(pictures, 0), pictures) for _ in range(5)]
    assert min(reached) > sum(losses) / 20 and min(reached) > loss_at(worst, worst.supernet.weights(), pictures)


def test_one_ascent_is_a_step_along_the_sign_of_the_gradient(stage):
    """Against autograd on the naive sum of candidates, from the noise of the same seed."""
    bilevel = bilevel_on(stage, "adversarial", num_ascents=1, first_epsilon=0.1, last_epsilon=0.1)
    supernet, pictures, epsilon = bilevel.supernet, batch(0), 0.1
    weights = supernet.weights().detach()
    torch.manual_seed(3)
    noise = torch.empty(2, 3).uniform_(-epsilon, epsilon)
    start = mixture(weights + noise, weights == 0).requires_grad_()
    y = sum(w * op(pictures.images.flatten(1) / 20) for w, op in zip(start[0], supernet.net.first.ops, strict=False))
    z = sum(w * op(y) for w, op in zip(start[1], supernet.net.last.ops, strict=True))
    torch.nn.functional.cross_entropy(3 * z, pictures.labels).backward()
    moved = start.detach() + 2 * epsilon * start.grad.sign()
    expected = mixture(torch.minimum(torch.maximum(moved, weights - epsilon), weights + epsilon), weights == 0)
    torch.manual_seed(3)
    torch.testing.assert_close(bilevel.perturbed(pictures, 0), expected)


@pytest.mark.parametrize("perturbed", ["random", "adversarial"])
def test_the_weights_step_where_the_mixture_is_perturbed_and_the_alphas_where_it_is(stage, perturbed):
    objective = Classify()
    bilevel = bilevel_on(stage, perturbed, KDAS, objective, num_ascents=2)
    supernet, own, seen = bilevel.supernet, bilevel.supernet.weights().detach(), []
    buffers = {name: value.clone() for name, value in supernet.named_buffers() if "running" in name}
    bilevel.supernet.net.register_forward_pre_hook(lambda *_: seen.append(supernet.weights().detach().clone()))
    bilevel.alpha_step(batch(0), batch(1), 0)
    assert len(seen) == 1 and torch.equal(seen[0], own)
    assert all(torch.equal(value, buffers[name]) for name, value in supernet.named_buffers() if name in buffers)
    own = supernet.weights().detach()
    torch.manual_seed(3)
    bilevel.weight_step(batch(0), 0)
    torch.manual_seed(3)
    assert len(seen) == 2 + 2 * (perturbed == "adversarial") and not any(torch.equal(each, own) for each in seen[1:])
    assert torch.equal(supernet.weights().detach(), own)
    ascents = ["nobody"] * 2 * (perturbed == "adversarial")
    assert objective.asked == ["alpha", *ascents, "weights"]


def test_the_bilevel_of_the_strategy_is_its_own_and_epsilon_is_in_the_history(stage):
    assert isinstance(bilevel_on(stage, "random"), SmoothBilevel)
    torch.manual_seed(0)
    found = SmoothDARTS(epochs=3).search(Smooth(), Fit(num_steps=1), stage)
    assert [line["epsilon"] for line in found.history] == pytest.approx([0.03, 0.165, 0.3])


def test_second_order_is_refused():
    with pytest.raises(ValueError, match="order must be 1, as a perturbed step"):
        SmoothDARTS(order=2)
