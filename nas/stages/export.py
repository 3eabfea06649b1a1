"""`nas export`: the retrained student as an ONNX file, which says the same as the network here."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.models.network import Network
from nas.run import RESULTS, Run
from nas.system.files import write_bytes
from nas.tasks.base import FindsPersons, image_size

OPSET = 17
LARGEST_DIFFERENCE = 1e-4
"""Between a number of the file and one of the network, of numbers above 1 as a share; beyond it nothing is written."""
FEATURES = ("features",)


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


def outputs_of(net: nn.Module) -> Sequence[str]:
    """What a network's answers are called."""
    return getattr(net, "outputs", FEATURES)


def num_features(deployed: nn.Module, height: int, width: int) -> int:
    """The length of a feature; 0 of a detector alone."""
    if isinstance(deployed, FindsPersons):
        return deployed.out_channels
    return copy.deepcopy(deployed).to("meta")(torch.empty(2, 3, height, width, device="meta")).shape[1]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]][len(words) == 1 :])


def as_onnx(net: nn.Module, height: int, width: int) -> bytes:
    """The network as ONNX, with weights and BatchNorms folded together, by tracing one batch.

    Tracing is torch's older way, which is deprecated; the newer one needs a package more, onnxscript. Raises ValueError
    naming what ONNX has no operation for.
    """
    file, outputs = io.BytesIO(), outputs_of(net)
    in_batches = outputs == FEATURES
    axes = {name: {0: "batch" if in_batches else "persons"} for name in outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # maps' sizes are fixed, and what follows from them
        try:
            torch.onnx.export(
                net,
                (torch.zeros(2 if in_batches else 1, 3, height, width),),
                file,  # type: ignore[arg-type] # the older way writes to open files, too
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(outputs),
                dynamic_axes={"images": {0: "batch"}, **axes} if in_batches else axes,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(
                f"the network must be made of what ONNX (opset {OPSET}) has operations for: {first_line(error)}"
            ) from error
    return file.getvalue()


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
