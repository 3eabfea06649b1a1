"""An ONNX file in lower precision: halved to float16, or with some of its layers quantised to int8."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.models.onnx_export import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BATCH_SIZE = 16
"""Calibration images in a forward pass."""
SHARES = (0.25, 0.5, 0.8, 0.95)
"""Candidates quantise the convolutions that do most of the work: the fewest that together have this share of the
MACs."""


def halved(content: bytes) -> bytes:
    """An ONNX file with weights and computation in float16; inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        return convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True).SerializeToString()


def prepare(source: Path, path: Path) -> None:
    """Writes an ONNX file anew as ONNX Runtime's quantisation wants it: folded, with the shapes of all maps."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet():
        quant_pre_process(str(source), str(path), skip_symbolic_shape=True)  # which fails for some networks


def candidates(path: Path) -> dict[str, list[str]]:
    """What of a prepared file may be quantised: the names of nodes, by what they are called together. No two are the
    same, and none is empty."""
    import onnx

    model = onnx.load(path)
    weights = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    weighted = [node for node in model.graph.node if len(node.input) > 1 and node.input[1] in weights]
    convolutions = [node for node in weighted if node.op_type == "Conv"]
    macs = _macs(model, convolutions, weights)
    found = {
        "all layers": [node for node in weighted if node.op_type in ("Conv", "Gemm", "MatMul")],
        "all convolutions": convolutions,
        "all but depthwise": [node for node in convolutions if _groups(node) == 1],
        "dense 1x1": [
            node for node in convolutions if _groups(node) == 1 and math.prod(weights[node.input[1]][2:]) == 1
        ],
    }
    for share in SHARES:
        least = _least_macs(list(macs.values()), share)
        found[f"convolutions from {least:,} MACs on"] = [node for node in convolutions if macs[node.name] >= least]
    names = {what: [node.name for node in nodes] for what, nodes in found.items() if nodes}
    return {what: nodes for i, (what, nodes) in enumerate(names.items()) if nodes not in list(names.values())[:i]}


def quantised(prepared: Path, nodes: Sequence[str], images: np.ndarray, path: Path) -> None:
    """Writes a prepared file with these nodes quantised: weights per channel, maps by the range that calibration
    `images` `[N, 3, H, W]`, as the file takes them, give them (static, QDQ).

    Maps are unsigned, which is what ONNX Runtime is fastest with on x86; weights have seven bits, so that sums do not
    overflow on processors without VNNI, and the file gives the same features there."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(np.split(images, range(BATCH_SIZE, len(images), BATCH_SIZE)))

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with _quiet():
        quantize_static(
            str(prepared),
            str(path),
            Reader(),
            nodes_to_quantize=list(nodes),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
        )


def _macs(model: ModelProto, convolutions: Sequence[NodeProto], weights: Mapping[str, tuple[int, ...]]) -> dict:
    """Multiply-adds of each convolution for an image, by its name."""
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim[2:]]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    return {
        node.name: math.prod(weights[node.input[1]]) * math.prod(sizes.get(node.output[0], ())) for node in convolutions
    }


def _least_macs(macs: Sequence[int], share: float) -> int:
    """The MACs from which on convolutions together have at least this share of all."""
    ordered = sorted(macs, reverse=True)
    reached = np.cumsum(ordered) >= share * sum(macs)
    return ordered[int(np.argmax(reached))] if ordered else 0


def _groups(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools warn, and log to the root logger, of what nobody can change here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
