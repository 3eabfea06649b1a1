"""Tensors on disk: a training's state, a network's weights; read without running anything."""

from __future__ import annotations

import hashlib
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
from safetensors.torch import save
from torch import Tensor, nn

from nas.errors import quoted
from nas.system.files import not_a_file, parse_object, read_bytes, write_whole
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
MARK, BLANK = b"nas-sha256:", b"0" * 64
"""What stands before a checksum in a file, and in its place while it is computed."""
AGAIN = "bring back a copy, or remove it and make it again with the command that wrote it"


def save_state(path: Path, state: Mapping[str, Any]) -> Path:
    """A training's state: tensors and plain data alone, and in the comment of the ZIP archive its checksum.

    Through memory, because torch.save to a file does not notice that a disk is full.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with ZipFile(buffer, "a") as archive:
        archive.comment = MARK + BLANK
    content = buffer.getbuffer()
    content[-len(BLANK) :] = _checksum(content, len(content) - len(BLANK))
    return write_whole(path, lambda file: file.write(content))


def load_state(path: Path) -> Any:
    """What `torch.save` wrote: tensors, plain data and numpy's numbers; nothing in it is run.

    Raises ValueError naming the file when it is damaged, and the class when it holds anything else.
    """
    _check_claims(path)
    content = read_bytes(path)
    if content.endswith(MARK, 0, -len(BLANK)):
        _compare(path, content, len(content) - len(BLANK))
    try:
        _check_parts(content)
        with warnings.catch_warnings(), torch.serialization.safe_globals([*NUMPY_SCALARS]):
            warnings.simplefilter("ignore")  # torch's advice on how to run what is in the file
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        refused = REFUSED.search(str(error))
        what = "a TorchScript program" if "TorchScript" in str(error) else refused and (refused[1] or refused[2])
        if not what:
            raise ValueError(f"{path} is damaged, or no checkpoint that torch wrote: {AGAIN}") from error
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
    return save_tensors(path, {name: tensor.detach() for name, tensor in net.state_dict().items()}, metadata)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> Path:
    """The tensors as safetensors, with `metadata` as JSON and a checksum of the file in its header."""
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    content = bytearray(_with_blank_checksum(save(plain, {"nas": json.dumps(metadata)})))
    place = content.index(MARK) + len(MARK)
    content[place : place + len(BLANK)] = _checksum(content, place)
    return write_whole(path, lambda file: file.write(content))


def _with_blank_checksum(content: bytes) -> bytes:
    """A safetensors file with one more entry in its metadata. The library would put the entries in any order."""
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    header["__metadata__"]["checksum"] = (MARK + BLANK).decode()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stand at multiples of eight bytes
    return len(text).to_bytes(8, "little") + text + content[size:]


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file. Raises ValueError naming the file when it is missing or damaged."""
    if why := not_a_file(path):
        raise ValueError(f"the weights file {path} {why}")
    content = read_bytes(path)
    end_of_header = 8 + int.from_bytes(content[:8], "little")
    if (place := content.find(MARK, 0, min(end_of_header, len(content)))) >= 0:
        _compare(path, content, place + len(MARK))
    try:
        with safe_open(path, "pt") as file:
            metadata = parse_object((file.metadata() or {}).get("nas", "{}"), f"the header of {path}")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def _checksum(content: bytes | bytearray | memoryview, place: int) -> bytes:
    """Of a file's content, the digits of the checksum itself, which stand at `place`, taken as zeros."""
    view = memoryview(content)
    found = hashlib.sha256(view[:place])
    found.update(BLANK)
    found.update(view[place + len(BLANK) :])
    return found.hexdigest().encode()


def _compare(path: Path, content: bytes, place: int) -> None:
    if content[place : place + len(BLANK)] != _checksum(content, place):
        raise ValueError(f"{path} is damaged, its checksum differs: {AGAIN}")


def _check_parts(content: bytes) -> None:
    """Raises ValueError for a ZIP archive with a part that differs from its own checksum. torch writes these, unless it
    is told not to (they are 0 then), and compares none."""
    if not content.startswith(b"PK"):  # torch's older format
        return
    with ZipFile(io.BytesIO(content)) as archive:
        if any(part.CRC for part in archive.infolist()) and (name := archive.testzip()):
            raise ValueError(f"{name} differs from its checksum")


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
        if not (is_real and is_plain(tensor)):
            raise ValueError(f"{what}: {name!r} must hold plain real numbers, not {tensor.dtype} ({tensor.layout})")
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ValueError(f"{what}: {name!r} must hold finite numbers, and has NaN or infinity")


def is_plain(tensor: Tensor) -> bool:
    """Whether it holds an array of real numbers."""
    return not (tensor.is_meta or tensor.is_quantized or tensor.is_complex() or tensor.layout != torch.strided)


def load_into(net: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Loads `tensors` into `net` strictly. Raises ValueError as `check_fits` does."""
    check_fits(net.state_dict(), tensors, what)
    load_fitting(net, tensors)


def load_fitting(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads `tensors` that `check_fits` has let through."""
    state = net.state_dict()
    state.update(tensors)  # which keeps the versions of the modules' formats: a plain mapping has none
    net.load_state_dict(state)
