"""A network at the start of its training."""

from __future__ import annotations

from typing import Any

import torch

from nas.models.network import Network
from nas.models.pretrained import check_same_architecture, freeze, load_head, load_pretrained
from nas.training.settings import Training
from search_spaces.architecture import Architecture
from students.reid import ReIDNet
from students.space import StudentSpace


def build_network(
    space: StudentSpace, architecture: Architecture | None, identities: tuple[int, ...], training: Training, seed: int
) -> Network:
    """A network for these identities at the start of its training: random by seed, its backbone pretrained where
    asked, which the space is told of, and frozen, with what the file has of the layers behind it, where that is asked.
    """
    space = space.starting_from(training.pretrained)
    torch.manual_seed(seed)
    net = space.student(architecture)
    if training.pretrained:
        kept: Any = (net.inference(), space.inference()[0])  # both with a backbone: an ensemble is not trained
        if training.pretrained != "imagenet":
            check_same_architecture(training.pretrained, *space.inference(architecture))
        inherited = load_pretrained(kept[0].backbone, kept[1].backbone, training.pretrained)
        if training.frozen:
            if not isinstance(kept[0], ReIDNet):
                raise ValueError(
                    f"frozen is for networks of one embedding and one classifier, and {space.title} is none"
                )
            freeze(kept[0], inherited, load_head(kept[0], training.pretrained))
        net.repeat_weights()
    return Network(net, space, architecture, identities)
