"""`nas export`: the retrained student as an ONNX file, which gives the same features as the network here."""

from __future__ import annotations

import copy
import io
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.models.network import Network
from nas.run import RESULTS, Run
from nas.system.files import write_bytes

OPSET = 17
LARGEST_DIFFERENCE = 1e-4
"""Between a feature of the file and one of the network; beyond it nothing is written."""


def export(run: Run, path: Path | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Writes the run's student to `path`, by default `student.onnx` in its folder.

    The file takes `images` `[B, 3, height, width]`, ImageNet-normalised, of the run's size and in batches of any size,
    and gives `features` `[B, D]` for the cosine distance. Returns what was written, with the largest difference
    between its features and the network's on random images.

    Raises ValueError without a student or onnx and onnxruntime, for a file that is there already, and when the
    features differ.
    """
    weights = run.folder / RESULTS["retrain"]
    path = path or run.folder / "student.onnx"
    if not weights.exists():
        raise ValueError(f"{run.folder} has no {weights.name} yet: `nas retrain {run.folder}` comes first")
    if path.suffix != ".onnx":
        raise ValueError(f"--out must be a file named *.onnx, not {path}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: give --out another file, or --overwrite to replace it")
    if missing := [name for name in ("onnx", "onnxruntime") if not find_spec(name)]:
        raise ValueError(f"an export needs the package {' and '.join(missing)}: pip install 'nas-reid[models]'")
    task = run.recipe.task
    net = task.deployed(Network.load(weights).net).eval()
    with torch.device("meta"):
        images = task.example(run.recipe, 1).images
    height, width = images.shape[2:]
    content = as_onnx(net, height, width)
    difference = largest_difference(content, net, height, width)
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"the ONNX file's features must be within {LARGEST_DIFFERENCE:g} of the network's, they differ "
            f"by {difference:.2g}: nothing is written"
        )
    write_bytes(path, content)
    return {
        "onnx": str(path),
        "opset": OPSET,
        "images": ["batch", 3, height, width],
        "features": copy.deepcopy(net).to("meta")(images).shape[1],
        "largest_difference": difference,
    }


def as_onnx(net: nn.Module, height: int, width: int) -> bytes:
    """The network as ONNX, with weights and BatchNorms folded together, by tracing one batch.

    Tracing is torch's older way, which is deprecated; the newer one needs a package more, onnxscript.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # maps' sizes are fixed, and what follows from them
        torch.onnx.export(
            net,
            (torch.zeros(2, 3, height, width),),
            file,  # type: ignore[arg-type] # the older way writes to open files, too
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
        )
    return file.getvalue()


def largest_difference(content: bytes, net: nn.Module, height: int, width: int) -> float:
    """Between the features of an ONNX file and those of a network, over batches of 1 and of 3 random images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = torch.Generator().manual_seed(0)
    differences = []
    for size in (1, 3):
        images = torch.randn(size, 3, height, width, generator=rng)
        (found,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            differences.append((net(images) - torch.from_numpy(found)).abs().max())
    return torch.stack(differences).max().item()
