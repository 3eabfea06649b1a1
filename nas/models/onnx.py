"""An ONNX file as a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxNet(nn.Module):
    """An ONNX file with one image input `[B, 3, H, W]` (ImageNet-normalised), run by onnxruntime on the CPU.

    Its first output with two axes is taken for the features. A fixed batch size is kept by filling up the last batch.
    Raises ValueError when the file is damaged, or its input is not an image of the given size.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        super().__init__()
        self.session = _session(path)
        image, *others = self.session.get_inputs()
        shape = [size if isinstance(size, int) else None for size in image.shape]
        fits = len(shape) == 4 and all(a in (None, b) for a, b in zip(shape[1:], (3, height, width), strict=True))
        if others or not fits:
            inputs = ", ".join(f"{each.name} {each.shape}" for each in self.session.get_inputs())
            raise ValueError(
                f"{path} must take one image [B, 3, {height}, {width}], its inputs are {inputs}: "
                "set --images.height and --images.width to its size"
            )
        outputs = [output.name for output in self.session.get_outputs() if len(output.shape) == 2]
        if not outputs:
            raise ValueError(
                f"{path} must have an output of features [B, D], its outputs are "
                f"{[(output.name, output.shape) for output in self.session.get_outputs()]}"
            )
        self.input, self.output, self.batch_size = image.name, outputs[0], shape[0]
        self.num_parameters = _num_parameters(path)

    def forward(self, x: Tensor) -> Tensor:
        images = x.float().cpu().numpy()
        size = self.batch_size or len(images)
        batches = [
            np.resize(images[start : start + size], (size, *images.shape[1:])) for start in range(0, len(images), size)
        ]
        found = [self.session.run([self.output], {self.input: batch})[0] for batch in batches]
        return torch.from_numpy(np.concatenate(found)[: len(images)]).to(x.device)

    def __deepcopy__(self, memo: dict) -> OnnxNet:
        return self  # a session cannot be copied, and holds no state that a forward pass changes


def _session(path: Path) -> InferenceSession:
    if not path.is_file():
        raise ValueError(f"the ONNX file {path} does not exist")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{path} needs the package onnxruntime: pip install onnx onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common type of their own
        raise ValueError(f"{path} is not an ONNX file that onnxruntime can run: {error}") from error


def _num_parameters(path: Path) -> int:
    """Numbers in the weights of the file's graph, without the whole numbers that are shapes and axes. Running
    statistics of a normalisation count, where they are kept."""
    import onnx

    weights = onnx.load(path, load_external_data=False).graph.initializer
    return sum(int(np.prod(weight.dims)) for weight in weights if weight.data_type != onnx.TensorProto.INT64)
