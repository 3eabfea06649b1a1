"""An ONNX file as a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.system.files import not_a_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


REAL: Mapping[str, type[np.floating]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
"""What a network may take and give, by ONNX's names."""


class OnnxNet(nn.Module):
    """An ONNX file with one image input `[B, 3, H, W]` (ImageNet-normalised), run by onnxruntime on the CPU.

    Its first output of real numbers with two axes is taken for the features, float32; a line on standard error says
    which one where there are several outputs. A fixed batch size is kept by filling up the last batch.
    Raises ValueError when the file is damaged, or its input is not an image of the given size in real numbers.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__()
        self.session = _session(path)
        inputs = self.session.get_inputs()
        shape = [size if isinstance(size, int) else None for size in inputs[0].shape] if inputs else []
        fits = len(shape) == 4 and all(a in (None, b) for a, b in zip(shape[1:], (3, height, width), strict=True))
        if len(inputs) != 1 or not fits:
            listed = ", ".join(f"{each.name} {each.shape}" for each in inputs) or "none"
            raise ValueError(
                f"{path} must take one image [B, 3, {height}, {width}], its inputs are {listed}: "
                "set --images.height and --images.width to its size"
            )
        if inputs[0].type not in REAL:
            raise ValueError(
                f"{path} must take images of {' or '.join(REAL)}, normalised as for ImageNet; its input "
                f"{inputs[0].name} is {inputs[0].type}: export it with one of those"
            )
        self.input, self.image_type, self.batch_size = inputs[0].name, REAL[inputs[0].type], shape[0]
        self.output = _output_of_features(self.session, path)
        self.num_parameters = _num_parameters(path)

    def forward(self, x: Tensor) -> Tensor:
        images = x.float().cpu().numpy().astype(self.image_type)
        size = self.batch_size or len(images)
        batches = [
            np.resize(images[start : start + size], (size, *images.shape[1:])) for start in range(0, len(images), size)
        ]
        found = [self.session.run([self.output], {self.input: batch})[0] for batch in batches]
        return torch.from_numpy(np.concatenate(found)[: len(images)].astype(np.float32)).to(x.device)

    def __deepcopy__(self, memo: dict) -> OnnxNet:
        return self  # a session cannot be copied, and holds no state that a forward pass changes


def _output_of_features(session: InferenceSession, path: Path) -> str:
    outputs = session.get_outputs()
    fitting = [output.name for output in outputs if output.type in REAL and len(output.shape or ()) == 2]
    listed = ", ".join(f"{output.name} {output.shape} of {output.type}" for output in outputs)
    if not fitting:
        raise ValueError(f"{path} must have an output of features [B, D] in real numbers, its outputs are {listed}")
    if len(outputs) > 1:
        print(f"nas: {path}: the output {fitting[0]!r} is taken for the features, of {listed}", file=sys.stderr)
    return fitting[0]


def _session(path: Path) -> InferenceSession:
    if why := not_a_file(path):
        raise ValueError(f"the ONNX file {path} {why}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{path} needs the package onnxruntime: pip install onnx onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common type of their own
        raise ValueError(f"{path} is not an ONNX file that onnxruntime can run: {first_line(error)}") from error


def _num_parameters(path: Path) -> int:
    """Numbers in the weights of the file's graph, without the whole numbers that are shapes and axes. Running
    statistics of a normalisation count, where they are kept."""
    import onnx

    weights = onnx.load(path, load_external_data=False).graph.initializer
    return sum(int(np.prod(weight.dims)) for weight in weights if weight.data_type != onnx.TensorProto.INT64)
