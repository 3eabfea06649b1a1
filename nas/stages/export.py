"""`nas export`: the retrained student as an ONNX file, which says the same as the network here."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.models.network import Network
from nas.models.onnx_export import FEATURES, OPSET, as_onnx, outputs_of
from nas.run import RESULTS, Run
from nas.system.files import write_bytes
from nas.tasks.base import FindsPersons, image_size

LARGEST_DIFFERENCE = 1e-4
"""Between a number of the file and one of the network, of numbers above 1 as a share; beyond it nothing is written."""


def export(run: Run, path: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Writes the run's student to `path`, by default `student.onnx` in its folder.

    The file takes `images` `[B, 3, height, width]`, ImageNet-normalised, of the run's size and in batches of any size,
    and gives `features` `[B, D]` for the cosine distance. That of a network for person search takes one image, whose
    right and lower side may be padding of 0, and gives `boxes` `[N, 4]` in its pixels, `scores` `[N]` and `features`
    `[N, D]` of the persons in it, all steps included. Returns what was written, with the largest difference between
    what it says and what the network does of random images.

    Raises ValueError without a student or onnx and onnxruntime, for a file that is there already, for a network that
    ONNX has no form of, and when the two differ.
    """
    weights, path = run.folder / RESULTS["retrain"], path or run.folder / "student.onnx"
    _check_can_export(run, path, overwrite)
    task = run.recipe.task
    deployed = task.deployed(Network.load(weights).net).eval()
    height, width = image_size(task, run.recipe)
    net = deployed.finder() if isinstance(deployed, FindsPersons) else deployed
    content = as_onnx(net, height, width)
    difference = largest_difference(content, net, height, width)
    if isinstance(deployed, FindsPersons):  # random images have nobody in them, so what finds everything is compared
        all_found = deployed.finder(least_score=0.0)
        difference = max(difference, largest_difference(as_onnx(all_found, height, width), all_found, height, width))
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"the ONNX file's {_listed(outputs_of(net))} must be within {LARGEST_DIFFERENCE:g} of the network's, they "
            f"differ by {difference:.2g}: nothing is written"
        )
    write_bytes(path, content)
    return {
        "onnx": str(path),
        "opset": OPSET,
        "images": [1 if isinstance(deployed, FindsPersons) else "batch", 3, height, width],
        "outputs": list(outputs_of(net)),
        "features": num_features(deployed, height, width),
        "largest_difference": difference,
    }


def _check_can_export(run: Run, path: Path, overwrite: bool) -> None:
    """Raises ValueError before any work: see `export`."""
    weights = run.folder / RESULTS["retrain"]
    if not weights.exists():
        raise ValueError(f"{run.folder} has no {weights.name} yet: `nas retrain {run.folder}` comes first")
    if path.suffix != ".onnx":
        raise ValueError(f"--out must be a file named *.onnx, not {path}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: give --out another file, or --overwrite to replace it")
    if missing := [name for name in ("onnx", "onnxruntime") if not find_spec(name)]:
        raise ValueError(f"an export needs the package {' and '.join(missing)}: pip install 'nas-reid[models]'")


def num_features(deployed: nn.Module, height: int, width: int) -> int:
    """The length of a feature; 0 of a detector alone."""
    if isinstance(deployed, FindsPersons):
        return deployed.out_channels
    return copy.deepcopy(deployed).to("meta")(torch.empty(2, 3, height, width, device="meta")).shape[1]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]][len(words) == 1 :])


def largest_difference(content: bytes, net: nn.Module, height: int, width: int) -> float:
    """Between what an ONNX file and a network say, over batches of 1 and of 3 random images, or two images alone.

    Numbers above 1, such as boxes, differ by a share of themselves. Infinite where one finds more persons than the
    other.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = torch.Generator().manual_seed(0)
    differences = [torch.zeros(1)]
    for size in (1, 3) if outputs_of(net) == FEATURES else (1, 1):
        images = torch.randn(size, 3, height, width, generator=rng)
        found = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            said = net(images)
        for one, other in zip((said,) if isinstance(said, Tensor) else said, map(torch.from_numpy, found), strict=True):
            if one.shape != other.shape:
                return math.inf
            differences.append(((one - other).abs() / one.abs().clamp_min(1)).flatten())
    return torch.cat(differences).max().item()
