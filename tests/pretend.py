"""A GPU in pretence: its tensors compute on the CPU, say that they lie on `cuda:0`, and mix with none of the CPU's.

What a program does for real can so be followed without one, numbers included. Nothing of it asks for a gradient. Where
nothing need be computed, `nas.bench.kernels` on the meta device is faster, and takes gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from nas.bench.kernels import COPIES, reads
from nas.data import augment

CUDA = torch.device("cuda:0")
MOVES = (torch.as_tensor, torch.Tensor.to)


class There(Tensor):
    """A tensor of the pretended GPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        how: dict[str, Any] = {"dtype": inner.dtype, "device": CUDA}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, inner.stride(), inner.storage_offset(), **how)
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"There({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, dict(kwargs or {}))


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation of the pretended GPU, or of the CPU."""
    name, taken = func.overloadpacket.__name__, [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    theirs = [tensor for tensor in taken if isinstance(tensor, There)]
    device = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else ""
    if not theirs and device != "cuda":
        return func(*args, **kwargs)
    here = [tensor for tensor in taken if not isinstance(tensor, There) and tensor.ndim]
    if here and name not in COPIES:
        raise RuntimeError(f"{name}: {list(here[0].shape)} lies on the CPU, what it is used with does not")
    args, kwargs = tree_map_only(There, lambda tensor: tensor.inner, (args, kwargs))
    PretendedGPU.num_waits += device == "cpu" or reads(name, args)
    PretendedGPU.num_sent += bool(here)
    out = func(*args, **kwargs | ({"device": "cpu"} if device else {}))
    if device == "cpu":
        return out.clone()
    own = {id(tensor.inner): tensor for tensor in theirs}
    return tree_map_only(Tensor, lambda tensor: own[id(tensor)] if id(tensor) in own else There(tensor), out)


class Operations(TorchDispatchMode):
    """Those that take no tensor are seen here alone."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, dict(kwargs or {}))


class PretendedGPU(TorchFunctionMode):
    """Inside, tensors that are made on or moved to `cuda:0` are pretended ones. It counts how often the host waits for
    a number, and what it sends."""

    num_waits = num_sent = 0

    def __enter__(self) -> PretendedGPU:
        PretendedGPU.num_waits = PretendedGPU.num_sent = 0
        torch._C._ensureCUDADeviceGuardSet()  # as FakeTensorMode does, where there is no GPU
        self.operations = Operations()
        self.operations.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.operations.__exit__(*error)
        augment._mean_and_std.cache_clear()  # nobody else is to find pretended ones

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        if func is torch.Tensor.pin_memory or (func is torch.as_tensor and isinstance(args[0], There)):
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], torch.device | str):
            kwargs["device"], args = args[1], args[:1]
        if kwargs.get("device") is None or torch.device(kwargs["device"]).type != "cuda":
            return func(*args, **kwargs)
        del kwargs["device"]
        if func not in MOVES:
            return There(func(*args, **kwargs))
        if isinstance(args[0], There):
            return func(*args, **kwargs)
        PretendedGPU.num_sent += 1
        return There(func(*args, **kwargs).clone())


def there(net: torch.nn.Module) -> torch.nn.Module:
    """Lets a network have its parameters and buffers on the pretended GPU."""
    for module in net.modules():
        for held in (module._parameters, module._buffers):
            held.update({name: There(tensor.detach()) for name, tensor in held.items() if tensor is not None})
    return net
