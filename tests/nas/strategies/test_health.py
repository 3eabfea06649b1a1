"""How a search by gradient is doing, against a loop over the decisions."""

import math

import pytest
import torch

from nas.strategies.health import POOLS, health
from search_spaces.architecture import parse_edge
from search_spaces.derive import derive
from search_spaces.relaxed import Supernet
from tests.nas.strategies.toys import KDAS, Smooth


@pytest.mark.parametrize("space", [KDAS, Smooth()], ids=["kdas", "smooth"])
def test_health_is_what_a_loop_over_decisions_gives(space):
    torch.manual_seed(3)
    supernet = Supernet.of(space)
    with torch.no_grad():
        supernet.alpha.normal_(std=2.0)
    predicted = derive(supernet)
    entropies, margins = [], []
    for options in supernet.alphas().values():
        weights = sorted(options.values())
        entropies.append(-sum(w * math.log(w) for w in weights) / math.log(len(weights)))
        margins.append(weights[-1] - weights[-2])
    edges = [parse_edge(e)[0] for a in predicted.decisions.values() if isinstance(a, tuple) for e in a]
    ops = edges or list(predicted.decisions.values())
    assert health(supernet, predicted) == pytest.approx(
        {
            "entropy": sum(entropies) / len(entropies),
            "margin": sum(margins) / len(margins),
            "skip_share": sum(op == "skip" for op in ops) / len(ops),
            "pool_share": sum(op in POOLS for op in ops) / len(ops),
        }
    )
