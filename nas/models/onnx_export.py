"""A network as ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from nas.errors import first_line

OPSET = 17
FEATURES = ("features",)


def outputs_of(net: nn.Module) -> Sequence[str]:
    """What a network's answers are called."""
    return getattr(net, "outputs", FEATURES)


def as_onnx(net: nn.Module, height: int, width: int, channels: int = 3) -> bytes:
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
                (torch.zeros(2 if in_batches else 1, channels, height, width),),
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
