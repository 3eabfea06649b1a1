"""Tensors on disk: a training's state, a network's weights; read without running anything."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.errors import quoted
from nas.system.files import not_a_file, parse_object, write_whole
from nas.system.memory import check_memory

SCALARS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
RECREATE_SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: tuple[Any, ...] = (
    *((RECREATE_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # of numpy 1 and 2
    np.dtype,
    *(type(np.dtype(kind)) for kind in SCALARS.split()),
)
"""What numpy's numbers are unpickled with: trainers put accuracies beside the weights. None of it runs anything."""
LARGEST_RATIO = 100
"""Of bytes to those that they are packed in: weights cannot be packed much."""
REFUSED = re.compile(r"GLOBAL ([\w.]+)|<class '([\w.]+)'>")
"""The class or function that torch would not load, in its message."""


def save_state(path: Path, state: Mapping[str, Any]) -> Path:
    """A training's state: tensors and plain data alone.

    Through memory, because torch.save to a file does not notice that a disk is full.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return write_whole(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def load_state(path: Path) -> Any:
    """What `torch.save` wrote: tensors, plain data and numpy's numbers; nothing in it is run.

    Raises ValueError naming the file when it is damaged, and the class when it holds anything else.
    """
    _check_claims(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([*NUMPY_SCALARS]):
            warnings.simplefilter("ignore")  # torch's advice on how to run what is in the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        refused = REFUSED.search(str(error))
        what = "a TorchScript program" if "TorchScript" in str(error) else refused and (refused[1] or refused[2])
        if not what:
            raise ValueError(f"{path} is damaged, or no checkpoint that torch wrote") from error
        raise ValueError(
            f"{path} must hold tensors and plain data alone, and holds {what}, which could run something: save the "
            "weights alone, as torch.save(net.state_dict(), PATH) does"
        ) from error


def _check_claims(path: Path) -> None:
    """Raises ValueError for what is no file, and for few bytes that stand for many: torch itself packs nothing."""
    if why := not_a_file(path):
        raise ValueError(f"{path} {why}")
    size = claimed = path.stat().st_size
    with suppress(OSError, BadZipFile, ValueError, NotImplementedError), ZipFile(path) as archive:
        claimed = sum(part.file_size for part in archive.infolist())
    if claimed > LARGEST_RATIO * size:
        raise ValueError(f"{path} must not be packed, and its {size:,} bytes stand for {claimed:,}: save it anew")
    check_memory(path, [claimed])


def save_weights(path: Path, net: nn.Module, metadata: Mapping[str, object]) -> Path:
    """A network's state dict as safetensors, with `metadata` as JSON in its header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    header = {"nas": json.dumps(metadata)}
    return write_whole(path, lambda temporary: save_file(tensors, temporary, header))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file. Raises ValueError naming the file when it is missing or damaged."""
    if why := not_a_file(path):
        raise ValueError(f"the weights file {path} {why}")
    try:
        with safe_open(path, "pt") as file:
            metadata = parse_object((file.metadata() or {}).get("nas", "{}"), f"the header of {path}")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def check_fits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises ValueError naming the first of the `tensors` that is missing, of another shape or not finite and real."""
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors:
            raise ValueError(f"{what} has no tensor {quoted([name])}, which the network needs")
        if name not in expected:
            raise ValueError(f"{what} has a tensor {quoted([name])}, which the network does not have")
        tensor = tensors[name]
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{what}: {name!r} has shape {tuple(tensor.shape)}, the network's has {tuple(expected[name].shape)}"
            )
        is_real = tensor.is_floating_point() or not expected[name].is_floating_point()
        is_plain = not (tensor.is_meta or tensor.is_quantized or tensor.is_complex() or tensor.layout != torch.strided)
        if not (is_real and is_plain):
            raise ValueError(f"{what}: {name!r} must hold plain real numbers, not {tensor.dtype} ({tensor.layout})")
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ValueError(f"{what}: {name!r} must hold finite numbers, and has NaN or infinity")


def load_into(net: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Loads `tensors` into `net` strictly. Raises ValueError as `check_fits` does."""
    expected = net.state_dict()
    check_fits(expected, tensors, what)
    expected.update(tensors)  # which keeps the versions of the modules' formats: a plain mapping has none
    net.load_state_dict(expected)
