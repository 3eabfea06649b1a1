"""Features of many images as a file, with the images' names and what tells the network that made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.system.files import blamed_on, check_format, parse_json
from nas.system.weights import load_weights, save_tensors

FORMAT = 1
KIND = "gallery"
"""What the header says of such a file, so that it is not taken for a network's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Images and their features."""

    features: Tensor
    """float32 `[N, D]`, as the network gives them."""
    names: tuple[str, ...]
    """Files, from `folder` on."""
    folder: Path
    network: str
    """The `id` of the extractor that made the features."""
    identities: tuple[str, ...] | None = None
    """Empty for an unknown one."""

    def __len__(self) -> int:
        return len(self.names)

    def identity(self, i: int) -> str:
        return self.identities[i] if self.identities else ""

    def path(self, i: int) -> Path:
        return self.folder / self.names[i]

    def save(self, path: Path) -> Path:
        """Writes safetensors: `features`, and `files` and `identities` as the bytes of a JSON list."""
        tensors = {"features": self.features, "files": _bytes(self.names)}
        if self.identities is not None:
            tensors["identities"] = _bytes(self.identities)
        about = {"format": FORMAT, "kind": KIND, "network": self.network, "folder": plain(str(self.folder.absolute()))}
        return save_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Raises ValueError naming the file when it is missing, damaged, or not what `save` writes."""
        tensors, about = load_weights(path)
        if about.get("kind") != KIND or not {"features", "files"} <= tensors.keys():
            raise ValueError(f"{path} holds no features of a gallery: `nas features` writes such a file")
        check_format(about, FORMAT, path)
        with blamed_on(path):
            features, names = tensors["features"], _texts(tensors["files"], path)
            identities = _texts(tensors["identities"], path) if "identities" in tensors else None
            if features.ndim != 2 or features.dtype != torch.float32 or not features.isfinite().all():
                raise ValueError("features must be finite float32 numbers [N, D]")
            if {len(features), len(names), len(names if identities is None else identities)} != {len(names)}:
                raise ValueError("there must be a file, and an identity where there are such, for each feature")
            return cls(
                features=features,
                names=names,
                folder=Path(about["folder"]),
                network=str(about["network"]),
                identities=identities,
            )


def is_gallery(path: Path) -> bool:
    """Whether `path` is a file as `Gallery.save` writes it, by its ending and header."""
    return path.suffix == ".safetensors" and path.is_file() and load_weights(path)[1].get("kind") == KIND


def plain(text: str) -> str:
    """With a backslash before each byte of a file's name that is no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _bytes(texts: Sequence[str]) -> Tensor:
    content = json.dumps([plain(text) for text in texts], ensure_ascii=False).encode()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _texts(content: Tensor, path: Path) -> tuple[str, ...]:
    texts: Any = parse_json(bytes(content.numpy()), path)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("files and identities must be lists of texts")
    return tuple(texts)
