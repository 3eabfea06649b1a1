"""A file of a network for person search, as it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nas.models.onnx import open_session
from nas.models.openvino import compiled, read_openvino


def open_finder(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """What gives an image `[1, 3, H, W]`, normalised, the file's boxes `[N, 4]`, scores `[N]` and features `[N, D]`.

    Raises ValueError when the file cannot be opened.
    """
    if path.suffix == ".onnx":
        session = open_session(path)
        name = session.get_inputs()[0].name
        return lambda image: list(map(torch.from_numpy, session.run(None, {name: image.numpy()})))
    model = compiled(read_openvino(path))
    return lambda image: [torch.from_numpy(found.copy()) for found in model(image.numpy()).to_tuple()]
