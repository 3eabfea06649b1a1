"""Steps as CUDA graphs: what a step launches is captured once, and from then on replayed in one launch.

Not yet tried on a GPU: `--machine.graphs` asks for it. What a step must not do in a graph, above all wait for the
device, `nas.bench.kernels` finds without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from nas.losses.base import Losses

WARM_UPS = 3
"""Steps before a capture, in which libraries set themselves up and optimisers make what they keep."""


@dataclass
class Graph:
    """A captured step."""

    replay: Callable[[], None]
    reads: list[Tensor]
    """The batch, which is copied there before each replay."""
    losses: Losses
    """What each replay writes."""


class Graphs:
    """The graphs of a stage's steps, by name. `on`: whether steps are to be replayed. Where one cannot be captured,
    `say` is told why, and from then on each kernel is launched by itself."""

    def __init__(self, on: bool, say: Callable[[str], None]) -> None:
        self.on = on
        self.say = say
        self._launches = not on
        self._graphs: dict[str, Graph] = {}
        self._keys: dict[str, tuple[Any, int]] = {}
        """What the last steps depended on, and how many they were."""

    def run(self, name: str, step: Callable[[Any], Losses], batch: Any, constants: object = None) -> Losses:
        """The losses of `step(batch)`. What it changes must be tensors that stay where they are.

        constants: what else it depends on. With others, and for a batch of another shape, it is captured again.
        """
        if self._launches:
            return step(batch)
        leaves, form = tree_flatten(batch)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        shapes = [(each.shape, each.stride(), each.dtype) for each in tensors]
        key = (constants, form, shapes, [leaf for leaf in leaves if not isinstance(leaf, Tensor)])
        last, num_steps = self._keys.get(name, (None, 0))
        self._keys[name] = (key, num_steps + 1 if key == last else 1)
        if key != last:
            self._graphs.pop(name, None)
        elif num_steps == WARM_UPS:
            self._capture(name, step, leaves, form)
        if self._launches:
            return step(batch)
        if name not in self._graphs:
            return beside(lambda: step(batch))
        graph = self._graphs[name]
        torch._foreach_copy_(graph.reads, tensors)
        graph.replay()
        return {part: loss.clone() for part, loss in graph.losses.items()}

    def _capture(self, name: str, step: Callable[[Any], Losses], leaves: list[Any], form: Any) -> None:
        held = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        try:
            replay, losses = captured(lambda: step(tree_unflatten(held, form)))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            self.say(f"no CUDA graph of the step of the {name}, each kernel is launched by itself: {reason}")
            self._launches = True
        else:
            self._graphs[name] = Graph(replay, [leaf for leaf in held if isinstance(leaf, Tensor)], losses)


def captured(step: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
    """What replays all that `step` launches, and the losses that each replay writes. Nothing is computed yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another thread prepares batches meanwhile
        losses = step()
    return graph.replay, losses


def beside(step: Callable[[], Losses]) -> Losses:
    """`step` on a stream of its own, as the capture that follows wants it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        losses = step()
    torch.cuda.current_stream().wait_stream(stream)
    return losses


def held(temperature: float | None, device: torch.device) -> Any:
    """A temperature above 0 as a tensor, so that a graph holds for all of them; at 0 the step is another one."""
    return torch.tensor(temperature, device=device) if temperature else 0.0
