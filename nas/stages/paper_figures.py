"""What a paper shows as a figure, from the runs of `nas reproduce`: weights, curves, features in the plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from nas.data.augment import Augment
from nas.data.cache import ImageCache
from nas.errors import near_misses
from nas.models.network import Network
from nas.report.history import read_history
from nas.report.retrieval_plots import tsne
from nas.report.run_plots import below_each_other, curves, panels_of_curves, weight_histograms
from nas.run import RESULTS, Run
from nas.stages.table_plan import folder_name
from nas.tasks.base import image_size
from search_spaces.space import Staged
from students.reid import ReIDNet

Results = Sequence[Mapping[str, Any]]
Draw = Callable[[Results, Path], dict[str, Figure]]
NUM_IDENTITIES = 20
VIEWS = Augment(flip=0.5, crop_padding=10, erase=0.5)
PLAIN = Augment(flip=0.0, crop_padding=0, erase=0.0)


def paper_figure(name: str) -> Draw:
    """The function of `FIGURES`, called with the results of `reproduce` and the folder of their runs; it gives figures
    by the names of their files. Raises ValueError with near misses for an unknown name."""
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}{near_misses(name, FIGURES)}; there are {', '.join(FIGURES)}")
    return FIGURES[name]


def weights(results: Results, folder: Path) -> dict[str, Figure]:
    """The students' weights stage by stage, first seed (KSL, Figure 5)."""
    networks = {
        result["name"]: stage_weights(cast(ReIDNet, Network.load(path / RESULTS["retrain"]).net).backbone)
        for result, path in _first_runs(results, folder)
    }
    return {"weights": weight_histograms(networks)}


def stage_weights(backbone: torch.nn.Module) -> dict[str, np.ndarray]:
    """The convolutions' and linear layers' weights of each stage, flat."""
    return {
        name: torch.cat(
            [
                parameter.detach().flatten()
                for module in modules
                for parameter in module.parameters()
                if parameter.dim() > 1
            ]
        ).numpy()
        for name, modules in cast(Staged, backbone).stages().items()
    }


def label_noise(results: Results, folder: Path) -> dict[str, Figure]:
    """Rank-1 error against the share of wrong labels, a line for each model (KSL, Figure 6): rows are named
    `MODEL, SHARE`."""
    lines: dict[str, dict[float, list[float]]] = {}
    for result in results:
        if result["runs"]:
            model, _, share = result["name"].rpartition(", ")
            lines.setdefault(model, {})[float(share)] = [100 * (1 - run["rank1"]) for run in result["runs"]]
    return {"label-noise": curves(lines, "share of wrong labels", "rank-1 error (%)")}


def settings(results: Results, folder: Path) -> dict[str, Figure]:
    """mAP against each of two settings (VRKD, Figure 6): rows are named `PANEL: LINE, PLACE`."""
    panels: dict[str, dict[str, dict[float | None, list[float]]]] = {}
    for result in results:
        if result["runs"]:
            panel, _, line = result["name"].partition(": ")
            network, _, place = line.rpartition(", ")
            values = [100 * run["mAP"] for run in result["runs"]]
            panels.setdefault(panel, {}).setdefault(network, {})[float(place)] = values
    return {"settings": panels_of_curves(panels, "", "mAP (%)")} if panels else {}


def trainings(results: Results, folder: Path) -> dict[str, Figure]:
    """Of each network, first seed, the parts of its loss and its accuracy over the epochs, and ranked queries from the
    worst to the best (fast re-ID, Figures 5 to 10)."""
    figures = {}
    for result in results:
        for run in result["runs"][:1]:
            name, is_teacher = folder_name(result["name"]), run["role"] == "teacher"
            path = folder / (run["teacher"] if is_teacher else run["trained_in"])
            history = read_history(path / f"{'teach' if is_teacher else 'retrain'}.history.jsonl")
            losses = dict.fromkeys(part for line in history for part in line.get("loss") or {})
            parts = {part: {line["epoch"] + 1: [line["loss"][part]] for line in history} for part in losses}
            figures[f"losses-{name}"] = curves(parts, "epoch", "loss")
            shares = {
                label: {line["epoch"] + 1: [100 * line[key]] for line in history if line.get(key) is not None}
                for key, label in (("mAP", "mAP"), ("rank1", "rank-1"))
            }
            if measured := {label: points for label, points in shares.items() if points}:
                figures[f"accuracy-{name}"] = curves(measured, "epoch", "%")
            if strips := sorted((folder / run["folder"] / "strips").glob("*.png")):
                figures[f"queries-{name}"] = below_each_other(list(map(imread, strips)))
    return figures


def trade_off(results: Results, folder: Path) -> dict[str, Figure]:
    """Search mAP and detection AP against the weight of OIM's loss (kd_person_search, Figure 1): rows are named
    `PANEL: LINE, LAMBDA`, and a network that has no such weight, which is a level, `PANEL: LINE`."""
    panels: dict[str, dict[str, dict[float | None, list[float]]]] = {}
    for result in results:
        panel, _, line = result["name"].partition(": ")
        network, _, weight = line.partition(", ")
        for key, measured in (("mAP", "search mAP"), ("detection_AP", "detection AP")):
            if values := [100 * run[key] for run in result["runs"] if key in run]:
                points = panels.setdefault(panel, {}).setdefault(f"{network}, {measured}", {})
                points[float(weight) if weight else None] = values
    return {"trade-off": panels_of_curves(panels, "lambda", "%")} if panels else {}


def augmented_tsne(results: Results, folder: Path) -> dict[str, Figure]:
    """Each student's features of 20 test identities' images, mirrored, shifted and erased at random (KSL, Figure 7).

    Deviation: no random patches, which paste parts of other images.
    """
    return {f"tsne-{path.name}": _plane(Run.open(path), VIEWS) for _, path in _first_runs(results, folder)}


def plain_tsne(results: Results, folder: Path) -> dict[str, Figure]:
    """The same of the images as they are (VRKD, Figure 4)."""
    return {f"tsne-{path.name}": _plane(Run.open(path), PLAIN) for _, path in _first_runs(results, folder)}


def _plane(run: Run, views: Augment) -> Figure:
    gallery = run.recipe.load(to_train=False).gallery
    generator = np.random.default_rng(run.recipe.seed)
    known = np.unique(gallery.ids[gallery.ids > 0])
    chosen = generator.choice(known, min(NUM_IDENTITIES, len(known)), replace=False)
    mine = gallery.take(np.isin(gallery.ids, chosen))
    images = ImageCache(mine, *image_size(run.recipe.task, run.recipe)).get(np.arange(len(mine)))
    how: Any = run.recipe.evaluation  # of crops: the papers' figures are
    net = Network.load(run.folder / RESULTS["retrain"]).net
    shown = views(images, torch.Generator().manual_seed(run.recipe.seed))
    with torch.inference_mode():
        features = torch.cat([net(part).feature for part in shown.split(how.batch_size)])
    return tsne(features.numpy(), mine.ids, None, distance=how.distance, seed=run.recipe.seed)


def _first_runs(results: Results, folder: Path) -> list[tuple[Mapping[str, Any], Path]]:
    return [(result, folder / result["runs"][0]["trained_in"]) for result in results if result["runs"]]


FIGURES: Mapping[str, Draw] = {
    "weights": weights,
    "label_noise": label_noise,
    "augmented_tsne": augmented_tsne,
    "plain_tsne": plain_tsne,
    "settings": settings,
    "trainings": trainings,
    "trade_off": trade_off,
}
"""What `runs.tables.PICTURES` may ask for."""
