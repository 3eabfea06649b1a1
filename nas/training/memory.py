"""What the training of a network needs at least, before anything of it is there."""

from __future__ import annotations

import torch
from torch import nn

from nas.system.memory import spare_bytes
from nas.training.machine import Machine

FLOAT = 4
COPIES = 4
"""Of each parameter: itself, its gradient, and Adam's two means."""
SMALL = 1_000
"""Of a batch that takes less than this part of the memory, the maps are not looked at."""
GIB = 2**30


def check_memory(what: str, net: nn.Module, batch_size: int, height: int, width: int, machine: Machine) -> None:
    """Raises ValueError unless the machine has what training `net` takes at least. `net` is on the meta device.

    Counted are the parameters, a batch, and the maps of convolutions and linear layers, which the backward pass reads.
    """
    there = free_bytes(machine)
    parameters = FLOAT * COPIES * sum(parameter.numel() for parameter in net.parameters())
    images = FLOAT * 3 * height * width * batch_size
    if parameters + images < there and images * SMALL > there:
        maps = map_bytes(net, height, width) // (2 if machine.precision == "bf16" else 1)
        images += maps * batch_size
    if parameters + images > there:
        raise ValueError(
            f"{what} needs at least {parameters / GIB:,.1f} GiB for the network and {images / GIB:,.1f} GiB for a "
            f"batch of {batch_size} images of {height}x{width}, and {there / GIB:,.1f} GiB are to be had: lower "
            "--images.height and --images.width, the batch in its sampling, or the network's channels or width"
        )


def free_bytes(machine: Machine) -> int:
    """Of the device that is computed on: a GPU's whole memory, or what a process may still take."""
    if machine.device == "cpu" or not torch.cuda.is_available():
        return spare_bytes()
    return torch.cuda.get_device_properties(0).total_memory


def map_bytes(net: nn.Module, height: int, width: int) -> int:
    """Of what comes out of the convolutions and linear layers for one image, in 32 bits; nothing is computed."""
    sizes: list[int] = []
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(lambda _, __, out: sizes.append(FLOAT * out.numel())) for layer in layers]
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(sizes)
