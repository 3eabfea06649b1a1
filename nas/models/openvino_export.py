"""A network as OpenVINO's files: NAME.xml with its layers and its card, NAME.bin with its weights."""

from __future__ import annotations

from pathlib import Path

from nas.errors import first_line
from nas.models.card import KEY, Card


def write_openvino(onnx_file: Path, path: Path, card: Card) -> None:
    """Converts an ONNX file; for a card of fp16 the weights are stored in half precision, and computed with in single.

    Raises ValueError naming an operation that OpenVINO does not have.
    """
    import openvino

    try:
        model = openvino.Core().read_model(onnx_file)  # convert_model tells its maker that it was used
    except Exception as error:  # OpenVINO's front ends raise several types
        raise ValueError(f"OpenVINO {openvino.__version__} cannot take the network: {first_line(error)}") from error
    model.set_rt_info(card.to_json(), KEY)
    openvino.save_model(model, path, compress_to_fp16=card.precision == "fp16")
