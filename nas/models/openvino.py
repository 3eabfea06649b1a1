"""An OpenVINO file as a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.system.files import not_a_file


def read_openvino(path: Path) -> Any:
    """The model in `path` (`.xml`, with its `.bin` beside it). Raises ValueError where OpenVINO cannot read it."""
    if why := not_a_file(path):
        raise ValueError(f"the OpenVINO file {path} {why}")
    try:
        import openvino
    except ImportError as error:
        raise ValueError(f"{path} needs the package openvino: pip install 'nas-reid[deploy]'") from error
    try:
        return openvino.Core().read_model(path)
    except Exception as error:  # its errors have no common type
        raise ValueError(f"{path} is not a model that OpenVINO can read: {first_line(error)}") from error


def compiled(model: Any) -> Any:
    """The model for the CPU, in single precision, on as many threads as torch has."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return openvino.Core().compile_model(model, "CPU", settings)


class OpenvinoNet(nn.Module):
    """An OpenVINO model with one image input `[B, 3, H, W]`, run on the CPU. Its first output of two axes is the
    features `[B, D]`, float32.

    takes_bytes: it takes uint8 images, and normalises them itself. Raises ValueError when the file is damaged or has no
    such input and output.
    """

    def __init__(self, path: Path, model: Any, takes_bytes: bool = False) -> None:
        super().__init__()
        self.path, self.image_type = path, np.uint8 if takes_bytes else np.float32
        self.takes = "uint8" if takes_bytes else "normalised"
        fitting = [i for i, output in enumerate(model.outputs) if len(output.get_partial_shape()) == 2]
        if len(model.inputs) != 1 or not fitting:
            raise ValueError(
                f"{path} must take one image [B, 3, H, W] and give features [B, D], it has {len(model.inputs)} inputs "
                f"and {len(fitting)} outputs of two axes"
            )
        batch = model.inputs[0].get_partial_shape()[0]
        self.batch_size = None if batch.is_dynamic else batch.get_length()
        self.output = fitting[0]
        self.compiled = compiled(model)

    def forward(self, x: Tensor) -> Tensor:
        images = x.cpu().numpy().astype(self.image_type)
        size = self.batch_size or len(images)
        found = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = np.resize(part, (size, *images.shape[1:]))
            try:
                found.append(self.compiled(batch)[self.output][: len(part)].astype(np.float32))
            except Exception as error:  # its errors have no common type
                raise ValueError(f"{self.path} cannot be run by OpenVINO: {first_line(error)}") from error
        return torch.from_numpy(np.concatenate(found)).to(x.device)
