"""What a GPU would be asked to do, counted without one: the meta device, where nothing is computed, stands for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "equal", "masked_select", "nonzero", "unique_consecutive", "unique_dim", "_unique2"}
"""Operations whose result, or its size, the host must know before it goes on."""
COPIES = {"_to_copy", "copy_"}
MANY_TENSORS = "_get_foreach_kernels_supported_devices"
"""Torch's list of the devices where an optimiser takes many tensors at a time."""


class Kernels(TorchDispatchMode):
    """Counts what is asked of the device.

    An operation that is no view is a kernel. It moves the bytes of what it takes and gives, each once. What comes from
    the host is a copy, or `num_sent`. RuntimeError where the host would wait for a number of the device, which a CUDA
    graph cannot capture, and where a tensor of the host is mixed with those of the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_kernels = self.num_bytes = self.num_sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, taken = func.overloadpacket.__name__, _tensors((args, kwargs))
        on_device = [tensor for tensor in taken if tensor.is_meta]
        if on_device and reads(name, args):
            raise RuntimeError(f"{name}: the host waits for the device")
        on_host = [tensor for tensor in taken if not tensor.is_meta and tensor.ndim]
        if on_device and on_host and name not in COPIES:
            raise RuntimeError(f"{name}: {list(on_host[0].shape)} lies on the host, what it is used with does not")
        out = func(*args, **(kwargs or {}))
        given = _tensors(out)
        if on_device and any(not tensor.is_meta for tensor in given):
            raise RuntimeError(f"{name}: the host waits for the device")
        if func.is_view or "empty" in name or not any(tensor.is_meta for tensor in given or taken):
            return out  # what works in place on many tensors gives none
        self.num_sent += name in COPIES and len(on_device) < len(taken)
        self.num_kernels += 1
        self.num_bytes += sum(tensor.nbytes for tensor in [*taken, *given])
        return out


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Optimisers and clipping treat tensors of the meta device as they do those of a GPU: many in a kernel."""
    places = ("torch.utils._foreach_utils", "torch.optim.optimizer")
    devices = patch(f"{places[0]}.{MANY_TENSORS}", lambda: ["cuda", "meta"])
    with devices, patch(f"{places[1]}.{MANY_TENSORS}", lambda: ["cuda", "meta"]):
        yield


def reads(name: str, args: Any) -> bool:
    """Whether the host must know something of what an operation gives before it goes on."""
    picks = name in ("index", "index_put", "index_put_")
    return name in READS or (picks and any(each is not None and each.dtype == torch.bool for each in args[1]))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
