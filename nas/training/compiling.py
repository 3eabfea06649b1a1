"""Networks that are trained in code compiled by torch.compile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from nas.errors import first_line
from search_spaces.cell import Cell

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Where compiled code is kept; torch's own choice is in /tmp, where others may write."""


def check_compiler() -> None:
    """Raises ValueError without a C++ compiler, which torch.compile needs."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"--machine.compile needs a C++ compiler, and there is no {compiler}: install g++, name another one in the "
            "environment variable CXX, or leave --machine.compile out"
        )


def compile_network(net: nn.Module, say: Callable[[str], None]) -> None:
    """From here on `net` computes in compiled code in training mode: cell by cell, or as a whole without cells.

    Names and state stay as they are, and a copy is not compiled. `say` is told how long compiling took, or why the
    network is not compiled. Code of earlier runs is taken from the cache.
    """
    import torch._functorch.config as settings

    settings.force_non_lazy_backward_lowering = True  # so that all that can fail does in the forward pass
    os.environ.setdefault(CACHE, str(Path.home() / ".cache" / "nas-reid" / "compiled"))
    parts: list[nn.Module] = [part for part in net.modules() if isinstance(part, Cell)] or [net]
    compiling = Compiling(len(parts), say)
    for number, part in enumerate(parts):
        part._compiled_call_impl = Compiled(part, f"part{number}", compiling)


class Compiling:
    """How far the parts of a network are. Where one cannot be compiled, none is used."""

    def __init__(self, num_parts: int, say: Callable[[str], None]) -> None:
        self.num_new, self.say = num_parts, say
        self.seconds = 0.0
        self.on = True

    def add(self, seconds: float) -> None:
        """One more part is compiled."""
        self.seconds += seconds
        self.num_new -= 1
        if not self.num_new:
            self.say(f"compiled in {self.seconds:.1f} s")

    def fail(self, error: Exception) -> None:
        self.on = False
        self.say(f"not compiled: {first_line(error)}")


class Compiled:
    """What a module is called by: its own forward pass, compiled as one graph, in training mode."""

    def __init__(self, part: nn.Module, name: str, compiling: Compiling) -> None:
        def call(*args: Any, **kwargs: Any) -> Any:
            return part._call_impl(*args, **kwargs)

        # A code object of its own: torch compiles one eight times at most.
        call.__code__ = call.__code__.replace(co_name=name)
        self.part, self.compiling = part, compiling
        self.call = torch.compile(call, fullgraph=True, dynamic=False)
        self.is_new = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.part.training and self.compiling.on):
            return self.part._call_impl(*args, **kwargs)
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        start = perf_counter()
        try:
            out = self.call(*args, **kwargs)
        except (FailOnRecompileLimitHit, TorchDynamoException) as error:
            self.compiling.fail(error)
            return self.part._call_impl(*args, **kwargs)
        if self.is_new:
            self.is_new = False
            self.compiling.add(perf_counter() - start)
        return out
