"""Which tensors ask for a gradient, and what forward passes leave behind, for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeGuard

from torch import Tensor, nn

from search_spaces.space import Learning


@contextmanager
def require_grad_only(of: Iterable[Tensor], parameters: Iterable[Tensor]) -> Iterator[None]:
    """Lets only those of the `parameters` in `of` ask for a gradient, so that nothing is kept or computed for the
    others."""
    wanted = {id(parameter) for parameter in of}
    others = [p for p in parameters if p.requires_grad and id(p) not in wanted]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


@contextmanager
def learning_paused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Lets forward passes leave what the modules learn in them (`search_spaces.space.Learning`) as it is."""
    learners = [module for module in modules if _learns(module) and module.learning]
    for module in learners:
        module.learning = False
    try:
        yield
    finally:
        for module in learners:
            module.learning = True


def _learns(module: object) -> TypeGuard[Learning]:
    """What isinstance says of the protocol, in a hundredth of its time: it is asked of every module at every step."""
    return "learning" in vars(module) or hasattr(type(module), "learning")


@contextmanager
def running_statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Lets forward passes leave all that they change of a network's modules as it is, such as BatchNorm's running
    statistics."""
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        with learning_paused(modules):
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
