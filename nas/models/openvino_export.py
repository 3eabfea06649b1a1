"""A network as OpenVINO's files: NAME.xml with its layers and its card, NAME.bin with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.models.card import KEY, Card
from nas.models.onnx import as_taken
from nas.models.onnx_export import FEATURES, INPUT

if TYPE_CHECKING:
    from openvino import CompiledModel

ONE_AT_A_TIME = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without it OpenVINO computes in bfloat16 wherever the processor can, and gives other features there."""


def write_openvino(onnx_file: Path, path: Path, card: Card) -> None:
    """Converts an ONNX file; for a card of fp16 the weights are stored in half precision, and computed with in single.

    Raises ValueError naming an operation that OpenVINO does not have.
    """
    import openvino

    try:
        model = openvino.convert_model(onnx_file)
    except Exception as error:  # OpenVINO's front ends raise several types
        raise ValueError(f"OpenVINO {openvino.__version__} cannot take the network: {first_line(error)}") from error
    model.set_rt_info(card.to_json(), KEY)
    openvino.save_model(model, path, compress_to_fp16=card.precision == "fp16")


def compiled(path: Path, num_threads: int) -> CompiledModel:
    """A file as OpenVINO runs it on the CPU, in float32 and in what of it is quantised.

    Raises ValueError when it cannot be read."""
    import openvino

    settings: dict[str, Any] = {**FLOAT32, **ONE_AT_A_TIME, "INFERENCE_NUM_THREADS": num_threads}
    try:
        return openvino.Core().compile_model(path, "CPU", settings)
    except Exception as error:  # OpenVINO raises several types
        raise ValueError(f"{path} is not a network that OpenVINO can run: {first_line(error)}") from error


class OpenVinoNet(nn.Module):
    """An OpenVINO file of `nas export` as a network: images `[B, 3, H, W]`, as its card says, to features `[B, D]`."""

    def __init__(self, path: Path, card: Card) -> None:
        super().__init__()
        self.card, self.takes = card, card.takes
        self.model = compiled(path, torch.get_num_threads())

    def forward(self, x: Tensor) -> Tensor:
        found = self.model({INPUT: as_taken(x, self.takes).contiguous().cpu().numpy()})
        return torch.from_numpy(found[FEATURES[0]].copy()).to(x.device)
