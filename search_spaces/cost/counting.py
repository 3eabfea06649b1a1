"""What a network costs before it has ever run: its parameters and the multiply-adds of one image."""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

FUNCTIONS = "functions"  # multiply-adds outside any leaf module: products of attention, functional convolutions

FREE = {F.batch_norm, F.layer_norm, F.group_norm, F.dropout, F.relu, F.relu6, F.hardswish, F.silu, F.gelu}
"""Functions that cost nothing and keep the shape."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """`parameters` of the whole network and `multiply_adds` of one `height x width` image, which papers call FLOPs.

    Both have their shares in [0, 1] by type of layer, largest first (as in fast re-ID's Table 1).
    """

    parameters: int
    multiply_adds: int
    height: int
    width: int
    multiply_adds_by_type: dict[str, float] = field(default_factory=dict)
    parameters_by_type: dict[str, float] = field(default_factory=dict)


def cost(net: nn.Module, height: int, width: int, c_in: int = 3) -> Cost:
    """Exact cost of `net` in eval mode for an input `[1, c_in, height, width]`; `net` stays as it is.

    A multiply-add is one product of a convolution, a linear layer, a matrix product or scaled-dot-product attention,
    as torch counts them; biases, normalisation, activations and pooling are free. A copy runs on the meta device, so
    nothing is computed: a forward whose path depends on values (a detector's suppression of boxes) raises there.
    `forward` may return anything.
    """
    copied = copy.deepcopy(net).to("meta", torch.float32).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _attention_in_parts(), _FreeOfCharge(), counter:
        copied(torch.empty(1, c_in, height, width, device="meta"))
    total = counter.get_total_flops() // 2
    return Cost(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        multiply_adds=total,
        height=height,
        width=width,
        multiply_adds_by_type=_shares(_multiply_adds_by_type(copied, counter.get_flop_counts(), total)),
        parameters_by_type=_shares(_parameters_by_type(net)),
    )


def thop_cost(net: nn.Module, height: int, width: int, c_in: int = 3) -> Cost:
    """The same by the thop package (0.1.1): a cross-check, not the record. It runs a copy of `net` on the CPU.

    It adds 2 to 4 operations per element of each normalisation and some for pooling and softmax: ResNet-50 +1 %,
    MobileNetV2 +9 %, a separable 3x3 convolution of C channels with its BatchNorm 4/(9+C), +16 % at C = 16. It misses
    whatever is no module of a type it knows, with its parameters: matrix products written as functions, subclasses of
    a known layer, all of `nn.MultiheadAttention`. A transposed convolution comes out stride squared too large.
    """
    with warnings.catch_warnings():  # thop 0.1.1 imports the deprecated distutils
        warnings.simplefilter("ignore", DeprecationWarning)
        import thop
    copied = copy.deepcopy(net).to("cpu", torch.float32).eval()
    image = torch.zeros(1, c_in, height, width)
    multiply_adds, parameters, by_name = thop.profile(copied, inputs=(image,), verbose=False, ret_layer_info=True)
    amounts: Counter[str] = Counter()
    for name, module in copied.named_modules():
        if name and (found := _of_thop(by_name, name.split("."))) is not None:
            amounts[layer_type(module)] += found
    return Cost(
        parameters=int(parameters),
        multiply_adds=int(multiply_adds),
        height=height,
        width=width,
        multiply_adds_by_type=_shares(amounts) if amounts.total() else {},
    )


def _of_thop(by_name: Mapping[str, tuple], path: Sequence[str]) -> int | None:
    """What thop counted for the layer at `path`; None for a module that is made of others."""
    operations, _, inner = by_name.get(path[0], (0, 0, {}))
    if len(path) > 1:
        return _of_thop(inner, path[1:])
    return None if inner else int(operations)


def layer_type(layer: nn.Module) -> str:
    """`conv 1x1`, `depthwise conv 3x3`, `grouped conv 3x3` or `fully connected`; else the name of its class."""
    if isinstance(layer, nn.Conv2d):
        kind = "" if layer.groups == 1 else "depthwise " if layer.groups == layer.in_channels else "grouped "
        return f"{kind}conv {'x'.join(map(str, layer.kernel_size))}"
    return "fully connected" if isinstance(layer, nn.Linear) else type(layer).__name__


def _multiply_adds_by_type(net: nn.Module, flops: dict[str, dict], total: int) -> Counter[str]:
    """Those of leaf modules; what no leaf did of the `total` is under `FUNCTIONS`."""
    root = type(net).__name__
    amounts: Counter[str] = Counter()
    for path, module in net.named_modules():
        if not any(module.children()):
            name = f"{root}.{path}" if path else root
            amounts[layer_type(module)] += sum(flops.get(name, {}).values()) // 2
    amounts[FUNCTIONS] = total - amounts.total()
    return amounts


def _parameters_by_type(net: nn.Module) -> Counter[str]:
    """Each parameter once, under the module that holds it first."""
    owners = {
        parameter: layer_type(module)
        for module in reversed(list(net.modules()))
        for parameter in module.parameters(recurse=False)
    }
    amounts: Counter[str] = Counter()
    for parameter, owner in owners.items():
        amounts[owner] += parameter.numel()
    return amounts


def _shares(amounts: Counter[str]) -> dict[str, float]:
    return {name: amount / amounts.total() for name, amount in amounts.most_common() if amount > 0}


class _FreeOfCharge(TorchFunctionMode):
    """Takes what costs nothing and keeps a tensor's shape for done, as on the meta device nothing is computed anyway:
    half of the time of counting went there."""

    def __torch_function__(
        self, function: Callable, types: object, arguments: tuple = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        return arguments[0] if function in FREE else function(*arguments, **(named or {}))


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """Without attention's fused inference path, which torch's counter takes for free."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
