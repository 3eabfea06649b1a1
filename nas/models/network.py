"""A trained re-ID network as one file: its weights, and in the header what it takes to build it again."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor, nn

import nas.recipe  # noqa: F401 - a file's header may name any class that a recipe can
from nas.system.config import decode, encode
from nas.system.weights import load_into, load_weights, save_weights
from search_spaces.architecture import Architecture
from students.reid import ReIDModule, ReIDNet, ReIDSpace

FORMAT = 1


@dataclass(frozen=True)
class Network:
    """A network with the space and architecture it was built from, and the training identities its logits stand for."""

    net: nn.Module
    space: ReIDSpace
    architecture: Architecture | None
    identities: tuple[int, ...]

    def inference(self) -> Network:
        """The network without what only its training needs."""
        space, architecture = self.space.inference(self.architecture)
        return replace(self, net=cast(ReIDModule, self.net).inference(), space=space, architecture=architecture)

    def save(self, path: Path) -> Path:
        """Writes safetensors."""
        architecture = self.architecture.to_dict() if self.architecture else None
        return save_weights(
            path,
            self.net,
            {
                "format": FORMAT,
                "space": encode(self.space),
                "architecture": architecture,
                "identities": self.identities,
            },
        )

    @classmethod
    def load(cls, path: Path) -> Network:
        """Raises ValueError when the file is missing, damaged, or not written by this project."""
        tensors, metadata = load_weights(path)
        if "space" not in metadata:
            raise ValueError(
                f"{path} was not written by this project (its header names no network): give a "
                "teacher.safetensors or student.safetensors; other checkpoints go into `pretrained`"
            )
        space = decode(metadata["space"], ReIDSpace, f"the header of {path}")
        architecture = Architecture.from_dict(metadata["architecture"]) if metadata["architecture"] else None
        net = space.student(architecture)
        load_into(net, tensors, str(path))
        return cls(net.eval(), space, architecture, tuple(metadata["identities"]))

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.space.title}, {self.architecture.hash}" if self.architecture else self.space.title


class NoLogits(nn.Module):
    """In a classifier's place: says nothing of any identity, `[B, 0]`."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature[:, :0]


def feature_net(net: nn.Module) -> nn.Module:
    """A copy of `net` without its classifiers: what runs on a camera. Of somebody's own network, a copy."""
    copied = copy.deepcopy(net)
    for module in copied.modules():
        if isinstance(module, ReIDNet):
            module.classifier = NoLogits()
    return copied
