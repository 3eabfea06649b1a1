"""An ONNX file as a network."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import first_line
from nas.models.card import KEY, Card
from nas.system.files import not_a_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, SessionOptions


REAL: Mapping[str, type[np.floating]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
"""What a network may take and give, by ONNX's names."""
BYTES: Mapping[str, type[np.generic]] = {"tensor(uint8)": np.uint8}
"""What a network takes that normalises images itself."""

ONLY_FATAL = 4
NUMBERED = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class OnnxNet(nn.Module):
    """An ONNX file with one image input `[B, 3, H, W]`, run by onnxruntime on the CPU.

    The images are ImageNet-normalised; with takes_bytes uint8 ones, which it normalises itself; where that is None, as
    the file's card says, if it has one. `takes` is the card's word for it.

    Its first output of real numbers with two axes is taken for the features, float32; a line on standard error says
    which one where there are several outputs. A fixed batch size is kept by filling up the last batch.
    Raises ValueError when the file or its card is damaged, its input is not an image of the given size in real numbers
    (or in uint8), or it gives no finite features for one.
    """

    def __init__(self, path: Path, height: int, width: int, takes_bytes: bool | None = None) -> None:
        super().__init__()
        self.path, self.session = path, open_session(path)
        self.card = _card(self.session, path)
        by_card = self.card is not None and self.card.takes == "uint8"
        self.takes = "uint8" if (by_card if takes_bytes is None else takes_bytes) else "normalised"
        types: Mapping[str, type[np.generic]] = BYTES if self.takes == "uint8" else REAL
        image = _image_input(self.session, path, height, width, types)
        self.input, self.image_type = image.name, types[image.type]
        self.batch_size = image.shape[0] if isinstance(image.shape[0], int) else None
        self.output = _output_of_features(self.session, path)
        self.num_parameters = _num_parameters(path)
        probe = self(noise(self.batch_size or 2, height, width, self.takes))
        if not probe.isfinite().all():
            raise ValueError(f"{path} must give finite features, and gives NaN or infinity for images of noise")

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError when the file cannot be run, or gives other than one row of features for each image."""
        images = as_taken(x, self.takes).cpu().numpy().astype(self.image_type, copy=False)
        size = self.batch_size or len(images)
        batches = [
            np.resize(images[start : start + size], (size, *images.shape[1:])) for start in range(0, len(images), size)
        ]
        found = [self._run(batch) for batch in batches]
        return torch.from_numpy(np.concatenate(found)[: len(images)].astype(np.float32)).to(x.device)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        try:
            found = self.session.run([self.output], {self.input: batch})[0]
        except Exception as error:  # onnxruntime's exceptions have no common type of their own
            raise ValueError(f"{self.path} cannot be run by onnxruntime: {_reason(error)}") from error
        if found.ndim != 2 or len(found) != len(batch):
            raise ValueError(
                f"{self.path} must give one row of features [D] for each image: for {len(batch)} images its output "
                f"{self.output} is {list(found.shape)}"
            )
        return found

    def __deepcopy__(self, memo: dict) -> OnnxNet:
        return self  # a session cannot be copied, and holds no state that a forward pass changes


def noise(num_images: int, height: int, width: int, takes: str) -> Tensor:
    """Random images as a file takes them, the same ones each time."""
    rng = torch.Generator().manual_seed(0)
    if takes == "uint8":
        return torch.randint(256, (num_images, 3, height, width), generator=rng, dtype=torch.uint8)
    return torch.randn(num_images, 3, height, width, generator=rng)


def as_taken(images: Tensor, takes: str) -> Tensor:
    """Images as a file takes them: pixels as uint8, everything else as float32."""
    return images.clamp(0, 255).to(torch.uint8) if takes == "uint8" else images.float()


def _card(session: InferenceSession, path: Path) -> Card | None:
    held = session.get_modelmeta().custom_metadata_map.get(KEY)
    return None if held is None else Card.from_json(held, path)


def _image_input(
    session: InferenceSession, path: Path, height: int, width: int, types: Mapping[str, type[np.generic]]
) -> NodeArg:
    inputs = session.get_inputs()
    listed = ", ".join(f"{each.name} {each.shape}" for each in inputs) or "none"
    shape = [size if isinstance(size, int) else None for size in inputs[0].shape] if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (None, 3):
        raise ValueError(
            f"{path} must take one image [B, 3, {height}, {width}], its inputs are {listed}: export it with that one, "
            "channels first"
        )
    if any(size not in (None, asked) for size, asked in zip(shape[2:], (height, width), strict=True)):
        raise ValueError(
            f"{path} must take one image [B, 3, {height}, {width}], its inputs are {listed}: "
            f"set --images.height {shape[2] or height} and --images.width {shape[3] or width}"
        )
    if inputs[0].type not in types:
        normalised = ", normalised as for ImageNet" if types is REAL else ""
        raise ValueError(
            f"{path} must take images of {' or '.join(types)}{normalised}; its input "
            f"{inputs[0].name} is {inputs[0].type}: export it with one of those"
        )
    return inputs[0]


def _output_of_features(session: InferenceSession, path: Path) -> str:
    outputs = session.get_outputs()
    fitting = [output.name for output in outputs if output.type in REAL and len(output.shape or ()) == 2]
    listed = ", ".join(f"{output.name} {output.shape} of {output.type}" for output in outputs) or "none"
    if not fitting:
        raise ValueError(
            f"{path} must have an output of features [B, D] in real numbers, its outputs are {listed}: export it with "
            "the features flattened"
        )
    if len(outputs) > 1:
        print(f"nas: {path}: the output {fitting[0]!r} is taken for the features, of {listed}", file=sys.stderr)
    return fitting[0]


def open_session(path: Path) -> InferenceSession:
    """Raises ValueError where onnxruntime cannot run the file."""
    if why := not_a_file(path):
        raise ValueError(f"the ONNX file {path} {why}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{path} needs the package onnxruntime: pip install onnx onnxruntime") from error
    try:
        return onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common type of their own
        raise ValueError(f"{path} is not an ONNX file that onnxruntime can run: {_reason(error)}") from error


def session_options() -> SessionOptions:
    """With as many threads as torch has; what goes wrong is raised, and not logged as well."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = ONLY_FATAL
    return options


def _reason(error: Exception) -> str:
    """What onnxruntime says of an error, without its own number and name of it."""
    return NUMBERED.sub("", first_line(error))


def _num_parameters(path: Path) -> int:
    """Numbers in the weights of the file's graph, without the whole numbers that are shapes and axes. Running
    statistics of a normalisation count, where they are kept."""
    import onnx

    weights = onnx.load(path, load_external_data=False).graph.initializer
    return sum(int(np.prod(weight.dims)) for weight in weights if weight.data_type != onnx.TensorProto.INT64)
