"""Tensors on disk: a training's state, a network's weights; read without running anything."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.system.files import write_whole


def save_state(path: Path, state: Mapping[str, Any]) -> Path:
    """A training's state: tensors and plain data alone.

    Through memory, because torch.save to a file does not notice that a disk is full.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return write_whole(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def load_state(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, running nothing in it. Raises ValueError naming the file when it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged, or holds more than tensors and plain data: {reason}") from error


def save_weights(path: Path, net: nn.Module, metadata: Mapping[str, object]) -> Path:
    """A network's state dict as safetensors, with `metadata` as JSON in its header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    header = {"nas": json.dumps(metadata)}
    return write_whole(path, lambda temporary: save_file(tensors, temporary, header))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file. Raises ValueError naming the file when it is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"the weights file {path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get("nas", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def load_into(net: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Loads `tensors` into `net` strictly. Raises ValueError naming the first tensor that is missing or differs."""
    expected = net.state_dict()
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors:
            raise ValueError(f"{what} has no tensor {name!r}, which the network needs")
        if name not in expected:
            raise ValueError(f"{what} has a tensor {name!r}, which the network does not have")
        if tensors[name].shape != expected[name].shape:
            raise ValueError(
                f"{what}: {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the network's has {tuple(expected[name].shape)}"
            )
    expected.update(tensors)  # which keeps the versions of the modules' formats: a plain mapping has none
    net.load_state_dict(expected)
