"""A network as ONNX."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.models.card import KEY, Card

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

OPSET = 18
FEATURES = ("features",)
INPUT = "images"
Exporter = Literal["dynamo", "tracing"]
SCOPES = "pkg.torch.onnx.name_scopes"
"""Under this name the newer exporter notes the modules around each node, from the outermost to the innermost."""
NO_OPERATION = re.compile(r"'(\w+)::(\w+)'|op='(\w+)\.(\w+)'")
"""An operation as torch's exporters name it: `'aten::relu'` or `op='aten.relu'`."""


def outputs_of(net: nn.Module) -> Sequence[str]:
    """What a network's answers are called."""
    return getattr(net, "outputs", FEATURES)


def example_images(
    net: nn.Module, height: int, width: int, takes: Literal["normalised", "uint8"], channels: int = 3
) -> Tensor:
    """What a network is exported with: two black images, or the one that a network for person search takes."""
    size = 2 if outputs_of(net) == FEATURES else 1
    return torch.zeros(size, channels, height, width, dtype=torch.uint8 if takes == "uint8" else torch.float32)


def as_onnx(
    net: nn.Module,
    height: int,
    width: int,
    channels: int = 3,
    takes: Literal["normalised", "uint8"] = "normalised",
) -> bytes:
    """The network as ONNX, with weights and BatchNorms folded together, by tracing one batch.

    Tracing is torch's older way, which is deprecated. For networks that are only timed it is the better one: it takes a
    tenth of the time of the newer one, and the files of deployed forms are equally fast. Raises ValueError naming what
    ONNX has no operation for.
    """
    file, outputs = io.BytesIO(), outputs_of(net)
    in_batches = outputs == FEATURES
    fixed = getattr(net, "num_rows", None) is not None
    axes = {} if fixed else {name: {0: "batch" if in_batches else "persons"} for name in outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # maps' sizes are fixed, and what follows from them
        try:
            torch.onnx.export(
                net,
                (example_images(net, height, width, takes, channels),),
                file,  # type: ignore[arg-type] # the older way writes to open files, too
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_axes={INPUT: {0: "batch"}, **axes} if in_batches else axes,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(_refusal(first_line(error), None)) from error
    return file.getvalue()


def export_onnx(
    net: nn.Module, height: int, width: int, takes: Literal["normalised", "uint8"] = "normalised"
) -> tuple[bytes, Exporter, str]:
    """The network as ONNX by torch's newer exporter (dynamo), or by tracing where that one fails or the network finds
    persons; which of the two wrote it, and why the newer one failed, if it did.

    Raises ValueError naming the operation that ONNX has no form of, and the layer that it is in.
    """
    if outputs_of(net) != FEATURES:
        return as_onnx(net, height, width, takes=takes), "tracing", ""
    program = None
    try:
        program = as_program(net, height, width, takes)
        with _without_warnings():
            made = torch.onnx.export(
                program, (), dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=list(FEATURES),
                verbose=False,
            )  # fmt: skip
        assert made is not None
        return _tidied(made.model_proto).SerializeToString(), "dynamo", ""
    except Exception as error:  # noqa: BLE001 - what torch raises on its way has no common type; it is said
        why = first_line(error)
    try:
        return as_onnx(net, height, width, takes=takes), "tracing", why
    except ValueError as error:
        raise ValueError(_refusal(first_line(error.__cause__ or error), program)) from error


def as_program(
    net: nn.Module, height: int, width: int, takes: Literal["normalised", "uint8"] = "normalised"
) -> ExportedProgram:
    """The network as torch.export has it, for batches of any size."""
    images = example_images(net, height, width, takes)
    with _without_warnings(), torch.no_grad():
        return torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def with_card(content: bytes, card: Card) -> bytes:
    """An ONNX file with the card among its metadata."""
    import onnx

    model = onnx.load_from_string(content)
    kept = {each.key: each.value for each in model.metadata_props if each.key != KEY}
    onnx.helper.set_model_props(model, {**kept, KEY: card.to_json()})
    return model.SerializeToString()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """torch warns of its own parts while it exports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _tidied(model: ModelProto) -> ModelProto:
    """The model with its nodes named by their modules, its batch by `batch`, and without what else torch notes: places
    in source files."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for node in model.graph.node:
        scopes = re.findall(r"'([^']*)'", next((each.value for each in node.metadata_props if each.key == SCOPES), ""))
        if len(scopes) > 1:
            node.name = f"{scopes[-2]}/{node.name.removeprefix('node_')}"
    for each in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        del each.metadata_props[:]
        each.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(rf"\b{symbol}\b", "batch", dim.dim_param)
    for weight in model.graph.initializer:
        del weight.metadata_props[:]
    return model


def _refusal(said: str, program: ExportedProgram | None) -> str:
    """What a user is told of an operation that ONNX does not have; in which layer, where `program` is there."""
    layers = []
    if program and (found := NO_OPERATION.search(said)):
        name = "::".join(part for part in found.groups() if part)
        for node in program.graph.nodes:
            if getattr(node.target, "_schema", None) and node.target._schema.name == name:
                stack = list((node.meta.get("nn_module_stack") or {}).values())
                layers.append(stack[-1][0] if stack else "the network")
    where = f", in {', '.join(dict.fromkeys(layers))}" if layers else ""
    return f"the network must be made of what ONNX (opset {OPSET}) has operations for: {said}{where}"
