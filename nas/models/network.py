"""A trained network as one file: its weights, and in the header what it takes to build it again."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

import nas.models
import search_spaces
import students
import teachers
from nas.models.card import Card
from nas.system.config import decode, encode, import_all
from nas.system.files import blamed_on, check_format
from nas.system.version1 import with_todays_names
from nas.system.weights import check_fits, load_fitting, load_weights, save_weights
from search_spaces.architecture import Architecture
from students.reid import ReIDNet
from students.space import StudentModule, StudentSpace

FORMAT = 1


@cache
def import_spaces() -> None:
    """Imports every space of the toolkit, so that a file can name it."""
    for package in (search_spaces, students, teachers, nas.models):
        import_all(package)


@dataclass(frozen=True)
class Network:
    """A network with the space and architecture it was built from, and the training identities its logits stand for."""

    net: StudentModule
    space: StudentSpace
    architecture: Architecture | None
    identities: tuple[int, ...]
    card: Card | None = None
    """What it takes and gives; None in files of earlier versions, and before a network is saved by a stage."""

    def card_for(self, height: int, width: int, distance: Literal["cosine", "euclidean"] = "cosine") -> Card:
        """What the network's file is to say of it, for images of this size."""
        return Card(
            height=height,
            width=width,
            embedding_size=getattr(self.net, "out_channels", 0),
            distance=distance,
            network=self.title,
            architecture=self.architecture,
            num_identities=len(self.identities) or None,
        )

    def inference(self) -> Network:
        """The network without what only its training needs."""
        space, architecture = self.space.inference(self.architecture)
        return replace(self, net=self.net.inference(), space=space, architecture=architecture)

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
                **({"card": json.loads(replace(self.card, architecture=None).to_json())} if self.card else {}),
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
        import_spaces()
        with blamed_on(path):
            check_format(metadata, FORMAT, str(path))
            space = decode(with_todays_names(metadata["space"]), StudentSpace, f"the header of {path}")
            architecture = Architecture.from_dict(metadata["architecture"]) if metadata["architecture"] else None
            identities = decode(metadata["identities"], tuple[int, ...], f"identities in the header of {path}")
            card = Card.from_json(json.dumps(metadata["card"]), path) if metadata.get("card") else None
        check_claim(space, architecture, tensors, str(path))
        net = space.student(architecture)
        load_fitting(net, tensors)
        card = card and replace(card, architecture=architecture)
        return cls(net.eval(), space, architecture, identities, card)

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.space.title}, {self.architecture.hash}" if self.architecture else self.space.title


def check_claim(
    space: StudentSpace, architecture: Architecture | None, tensors: Mapping[str, Tensor], what: str
) -> None:
    """Raises ValueError unless the network that a file's header describes has the file's tensors.

    Nothing is allocated for what it claims: it is built on the meta device, as far as the tensors make it likely.
    """
    num_modules, likely = 0, 10_000 + 100 * len(tensors)

    def count(*_: object) -> None:
        nonlocal num_modules
        num_modules += 1
        if num_modules > likely:
            raise ValueError(f"it has more than {likely:,} modules, the file {len(tensors):,} tensors")

    counting = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"):
            claimed = space.student(architecture).state_dict()
    except Exception as error:  # whatever the classes of the toolkit and of torch say to numbers that nobody checked
        raise ValueError(f"the header of {what} must describe a network that can be built: {error}") from error
    finally:
        counting.remove()
    check_fits(claimed, tensors, what)


class NoLogits(nn.Module):
    """In a classifier's place: says nothing of any identity, `[B, 0]`."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature[:, :0]


class FeatureNet(nn.Module):
    """A copy of a re-ID network without its classifiers: images `[B, 3, H, W]` to features `[B, D]`, as on a camera.
    Of somebody's own network, which gives features already, a copy."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        self.out_channels = getattr(net, "out_channels", None)
        for module in self.net.modules():
            if isinstance(module, ReIDNet):
                module.classifier = NoLogits()

    def forward(self, images: Tensor) -> Tensor:
        output = self.net(images)
        return getattr(output, "feature", output)
