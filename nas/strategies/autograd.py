"""Which tensors ask for a gradient, and what forward passes leave behind, for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from search_spaces.space import Learning


@contextmanager
def require_grad_only(of: Iterable[Tensor], net: nn.Module) -> Iterator[None]:
    """Lets only the parameters in `of` ask for a gradient, so that nothing is kept or computed for the others."""
    wanted = {id(parameter) for parameter in of}
    others = [p for p in net.parameters() if id(p) not in wanted and p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


@contextmanager
def learning_paused(net: nn.Module) -> Iterator[None]:
    """Lets forward passes leave what modules learn in them (`search_spaces.space.Learning`) as it is."""
    learners = [module for module in net.modules() if isinstance(module, Learning) and module.learning]
    for module in learners:
        module.learning = False
    try:
        yield
    finally:
        for module in learners:
            module.learning = True


@contextmanager
def running_statistics_kept(net: nn.Module) -> Iterator[None]:
    """Lets forward passes leave all that they change of a network as it is, such as BatchNorm's running statistics."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        with learning_paused(net):
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
