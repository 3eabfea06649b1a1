"""What is no run's: a network of others, or features that somebody saved."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data.images import Images
from nas.data.source import DataSource
from nas.models.library import classifier_features
from nas.models.network import Network
from nas.models.onnx import OnnxNet
from nas.system.files import digest
from nas.system.weights import load_weights
from nas.tasks import task_of
from nas.tasks.base import EvaluatedNetwork
from nas.tasks.reid.feature_files import FEATURE_FILES
from nas.tasks.reid.features import Features
from nas.tasks.reid.measure import judged, write_metrics, write_queries
from nas.tasks.reid.pictures import draw_plots
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.ranges import Name, Ranged
from students.space import check_task


@dataclass(frozen=True, kw_only=True)
class OtherFeatures(Ranged):
    """Features that somebody saved with their identities and cameras, and how they are measured."""

    subject: Name
    """File with the features of queries and gallery, their identities and cameras."""
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluation.flip:
            raise ValueError(
                f"{self.subject} holds features, of which there is no mirror image: leave --flip out, or give a network"
            )

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return self.subject

    @property
    def rules(self) -> dict[str, Any]:
        """What decides the numbers."""
        return {"content": content_of(self.subject), "evaluation": self.evaluation}

    @property
    def folder_name(self) -> str:
        return f"evaluate-{Path(self.subject).stem}"

    def measured(self, folder: Path, **further: object) -> dict[str, Any]:
        path = Path(self.subject)
        features = Features.load(path)
        sides = (("query", features.query), ("gallery", features.gallery))
        queries, gallery = ([f"{side} {i}" for i in range(len(of_side))] for side, of_side in sides)
        try:
            results = judged(features, "features", f"features ({path.name})", self.evaluation)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        write_queries(folder, results, (queries, gallery), features)
        draw_plots(folder / "plots", features, self.evaluation)
        return write_metrics(folder, path.name, {"num_gallery": len(features.gallery)}, results, **further)


@dataclass(frozen=True, kw_only=True)
class OtherNetwork(Ranged):
    """A network that is no run's, and how it is measured."""

    subject: Name
    """Name of a torchvision or timm classifier, an ONNX file, or a safetensors file of this project."""
    data: DataSource
    weights: str = ""
    """Weights of a torchvision or timm network: `imagenet` (downloaded) or a checkpoint's path; empty: random, the same
    ones each time."""
    images: Images = field(default_factory=lambda: Images(height=256, width=128))
    evaluation: Evaluation = field(default_factory=Evaluation)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and self.is_file:
            raise ValueError(f"{self.subject} holds its own weights: leave --weights out")

    @property
    def is_file(self) -> bool:
        return Path(self.subject).suffix in (".onnx", ".safetensors")

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return self.subject if self.is_file else f"{self.subject} with weights: {self.weights or 'random'}"

    @property
    def rules(self) -> dict[str, Any]:
        """What decides the numbers."""
        content = content_of(self.subject if self.is_file else self.weights)
        return {"content": content, "data": self.data, "images": self.images, "evaluation": self.evaluation}

    @property
    def folder_name(self) -> str:
        return f"evaluate-{Path(self.subject).stem.replace(':', '-')}-{type(self.data).__name__.lower()}"

    def measured(self, folder: Path, **further: object) -> dict[str, Any]:
        data = self.data.load()
        task = task_of(self.data)
        task.check_evaluation(data, self.evaluation)
        network = EvaluatedNetwork(role="model", title=Path(self.subject).name, net=self.network())
        stage = Stage(folder, "evaluate", "", self.machine.alone())
        return task.measure([network], data, self.images, self.evaluation, stage, **further)

    def network(self) -> nn.Module:
        """The network itself, giving features."""
        path = Path(self.subject)
        if path.suffix == ".onnx":
            return OnnxNet(path, self.images.height, self.images.width)
        if path.suffix == ".safetensors":
            network = Network.load(path)
            check_task(f"{path} ({network.title})", network.space.task, self.data.task)
            return network.net
        if not self.weights:
            warnings.warn(
                f"the weights of {self.subject} are random: give a checkpoint as --weights, or imagenet", stacklevel=2
            )
            torch.manual_seed(0)
        return classifier_features(self.subject, self.weights)


def content_of(file: str) -> str:
    """What tells a file from another one of its name; empty where there is none."""
    return digest(Path(file)) if Path(file).is_file() else ""


def is_features(name: str) -> bool:
    """Whether `name` is a file of saved features: by its ending, or a `.safetensors` that holds no network."""
    path = Path(name)
    return path.suffix in FEATURE_FILES or (path.suffix == ".safetensors" and "space" not in load_weights(path)[1])
