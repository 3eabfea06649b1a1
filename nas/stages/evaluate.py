"""`nas evaluate`: what a run's networks, a network of others, or saved features are worth."""

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
from nas.recipe import check_cameras
from nas.run import RESULTS, Run
from nas.stages.teacher import teacher_path
from nas.system.files import read_json
from nas.system.weights import load_weights
from nas.tasks.reid.features import Features
from nas.tasks.reid.measure import EvaluatedNetwork, judged, measure, write_metrics, write_queries
from nas.tasks.reid.pictures import draw_plots
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.stage import Stage


def evaluate(run: Run) -> dict[str, Any]:
    """Measures the run's networks, as far as they are trained, on the test split; see `nas.tasks.reid.measure`."""
    entrants, recipe = trained(run), run.recipe
    data = recipe.load()
    run.note_recipe()
    return measure(entrants, data, recipe.images, recipe.evaluation, Stage(run.folder, "evaluate", "", recipe.machine))


def trained(run: Run) -> list[EvaluatedNetwork]:
    """The run's networks by their roles. Raises ValueError when none is trained."""
    recipe = run.recipe
    has_teacher = recipe.teacher and (recipe.teacher.weights or (run.folder / RESULTS["teach"]).exists())
    paths = {
        "teacher": teacher_path(run) if has_teacher else None,
        "baseline": run.folder / RESULTS["baseline"],
        "student": run.folder / RESULTS["retrain"],
    }
    networks = {role: Network.load(path) for role, path in paths.items() if path and path.exists()}
    if not networks:
        raise ValueError(
            f"{run.folder} has no student.safetensors and no teacher.safetensors yet: `nas retrain "
            f"{run.folder}` or `nas teach {run.name}` comes first"
        )
    return [EvaluatedNetwork(role=role, title=network.title, net=network.net) for role, network in networks.items()]


@dataclass(frozen=True, kw_only=True)
class OtherFeatures:
    """Features that somebody saved with their identities and cameras, and how they are measured."""

    subject: str
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        if self.evaluation.flip:
            raise ValueError(
                f"{self.subject} holds features, of which there is no mirror image: leave --flip out, or give a network"
            )

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return self.subject

    @property
    def folder_name(self) -> str:
        return f"evaluate-{Path(self.subject).stem}"

    def measured(self, folder: Path) -> dict[str, Any]:
        path = Path(self.subject)
        features = Features.load(path)
        names = tuple(f"query {i}" for i in range(len(features.query)))
        results = judged(features, "features", f"features ({path.name})", self.evaluation)
        write_queries(folder, results, names, features)
        draw_plots(folder / "plots", features, self.evaluation)
        return write_metrics(folder, path.name, {"num_gallery": len(features.gallery)}, results, subject=self.title)


@dataclass(frozen=True, kw_only=True)
class OtherNetwork:
    """A network that is no run's, and how it is measured."""

    subject: str
    """A torchvision or timm classifier's name, an ONNX file, or a safetensors file of this project."""
    data: DataSource
    weights: str = ""
    """Of a torchvision or timm network: `imagenet` (downloaded) or a checkpoint's path; without it they are random, the
    same ones each time."""
    images: Images = field(default_factory=lambda: Images(height=256, width=128))
    evaluation: Evaluation = field(default_factory=Evaluation)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
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
    def folder_name(self) -> str:
        return f"evaluate-{Path(self.subject).stem.replace(':', '-')}-{type(self.data).__name__.lower()}"

    def measured(self, folder: Path) -> dict[str, Any]:
        data = self.data.load()
        check_cameras(data, self.evaluation)
        entrant = EvaluatedNetwork(role="model", title=Path(self.subject).name, net=self.network())
        stage = Stage(folder, "evaluate", "", self.machine)
        return measure([entrant], data, self.images, self.evaluation, stage, subject=self.title)

    def network(self) -> nn.Module:
        """The network itself, giving features."""
        path = Path(self.subject)
        if path.suffix == ".onnx":
            return OnnxNet(path, self.images.height, self.images.width)
        if path.suffix == ".safetensors":
            return Network.load(path).net
        if not self.weights:
            warnings.warn(
                f"the weights of {self.subject} are random: give a checkpoint as --weights, or imagenet", stacklevel=2
            )
            torch.manual_seed(0)
        return classifier_features(self.subject, self.weights)


def is_features(name: str) -> bool:
    """Whether `name` is a file of saved features: `.npz`, or a `.safetensors` that holds no network."""
    return name.endswith(".npz") or (name.endswith(".safetensors") and "space" not in load_weights(Path(name))[1])


def evaluate_other(other: OtherNetwork | OtherFeatures, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Measures what is no run's; see `nas.tasks.reid.measure.measure` for what is written into `folder`.

    Raises ValueError when the network or the features cannot be had or do not fit, and when `folder` holds the results
    of another subject or of other weights, unless they may be replaced.
    """
    path = folder / "metrics.json"
    before = read_json(path).get("subject", "a run's networks") if path.exists() else other.title
    if before != other.title and not overwrite:
        raise ValueError(
            f"{folder} holds the results of {before}, not of {other.title}: give --out another folder, "
            "or --overwrite to replace them"
        )
    return other.measured(folder)
