"""Files that `nas export` writes, as networks, and how long they take."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from nas.models.card import KEY, Card
from nas.models.onnx import OnnxNet, as_taken, noise
from nas.models.openvino import OpenvinoNet, read_openvino
from nas.models.runtimes import OnnxRuntime, OpenVINO
from nas.system.files import write_bytes
from search_spaces.cost.latency import Conditions, Eager, Runtime, Timing, num_threads, time_calls

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
"""The ending of each format's file."""
BATCHES = {1: (10, 60), 8: (3, 20)}
"""The sizes of batches that are timed, with the passes that warm up and those that count."""


class ProgramNet(nn.Module):
    """What torch.export wrote as a network: images `[B, 3, H, W]`, as its card says, to features `[B, D]`."""

    def __init__(self, path: Path, card: Card) -> None:
        super().__init__()
        self.card, self.takes = card, card.takes
        self.run = partial(torch.export.load(path).module())  # none of this module's parts, as it has no eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.run(as_taken(x, self.takes).contiguous())


def write_program(program: ExportedProgram, path: Path, card: Card) -> None:
    """Writes what torch.export made, with its card, and without the places in source files that torch notes."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scalars of BatchNorms, which are shared and harmless
        torch.export.save(program, file, extra_files={KEY: card.to_json()})
    write_bytes(path, file.getvalue())


def open_file(path: Path, card: Card) -> nn.Module:
    """The network in a file that `nas export` has just written."""
    if path.suffix == FORMATS["onnx"]:
        return OnnxNet(path, card.height, card.width)
    if path.suffix == FORMATS["openvino"]:
        return OpenvinoNet(path, read_openvino(path), card.takes == "uint8")
    return ProgramNet(path, card)


def time_files(
    paths: Sequence[Path], card: Card, image: Tensor | None = None
) -> tuple[list[dict[int, Timing]], Conditions]:
    """For each file, of one format, the time of an image, alone and in a batch of eight (`BATCHES`), on one thread; and
    where that was. image: `[1, 3, H, W]` for files that take one image, which is timed alone; None: random ones."""
    with num_threads(1):
        found: list[dict[int, Timing]] = [{} for _ in paths]
        for size, (num_warmup, num_rounds) in BATCHES.items():
            if image is not None and size > 1:
                continue
            images = noise(size, card.height, card.width, card.takes) if image is None else image
            calls = [_one_pass(path, card, images) for path in paths]
            for times, timing in zip(found, time_calls(calls, num_warmup, num_rounds, size), strict=True):
                times[size] = timing
        runtimes: dict[str, Runtime] = {".onnx": OnnxRuntime(), ".xml": OpenVINO(), ".pt2": Eager()}
        return found, runtimes[paths[0].suffix].conditions()


def _one_pass(path: Path, card: Card, images: Tensor) -> Callable[[], object]:
    """What runs a file once for `images`."""
    if path.suffix == FORMATS["onnx"]:
        return OnnxRuntime().prepare_file(path.read_bytes(), images.numpy())
    if path.suffix == FORMATS["openvino"]:
        return OpenVINO().prepare_model(read_openvino(path), images.numpy())
    return partial(ProgramNet(path, card), images)
